"""Classes renamed, made one, united by name and put in order. Labels follow."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import HoldfastError

Ints = NDArray[np.int64]


class ClassError(HoldfastError):
    """Classes that cannot be renamed, united or ordered as was asked."""


@dataclass(frozen=True, slots=True)
class ClassChanges:
    """What is asked of class names.

    Attributes:
        renamed: new names by old ones. Several old ones of one new name become one class.
        order: names, as they are after renaming, that come first; the others follow in the order that they had.

    """

    renamed: Mapping[str, str]
    order: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether anything is asked."""
        return bool(self.renamed or self.order)

    def united(self, *sets: Sequence[str]) -> tuple[str, ...]:
        """The class names of several sets together, each name once, renamed and in order.

        Raises:
            ClassError: a set has a name twice; a name to be renamed or ordered is in none; a class is renamed to the name of
                another one that is not renamed to it as well.

        """
        for names in sets:
            _refuse_twice(names)
        known = tuple(dict.fromkeys(name for names in sets for name in names))
        for old, new in self.renamed.items():
            _refuse_unknown(old, known, "--rename")
            if not new.strip():
                raise ClassError(f"--rename {old}=: a class needs a name")
            if new in known and new not in self.renamed:
                raise ClassError(
                    f"--rename {old}={new}: there is a class {new} already; to make them one, say --rename {new}={new} as well"
                )
        names = tuple(dict.fromkeys(self.renamed.get(name, name) for name in known))
        for name in self.order:
            _refuse_unknown(name, names, "--order")
        if repeated := [name for name, count in Counter(self.order).items() if count > 1]:
            raise ClassError(f"--order names {repeated[0]} twice")
        return (*self.order, *(name for name in names if name not in set(self.order)))

    def labels(self, names: Sequence[str], united: Sequence[str]) -> Ints:
        """For each class of a set, its label among the `united` names: int64 [len(names)]."""
        places = {name: label for label, name in enumerate(united)}
        return np.array([places[self.renamed.get(name, name)] for name in names], dtype=np.int64)

    def of(self, names: Sequence[str]) -> dict[str, str]:
        """What becomes of a set's names, where they do not stay what they are."""
        return {name: self.renamed[name] for name in names if self.renamed.get(name, name) != name}


def parse_renaming(pairs: Sequence[str]) -> dict[str, str]:
    """From "old=new" to {old: new}.

    Raises:
        ClassError: one has no "=", or an old name comes twice.

    """
    renamed: dict[str, str] = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not equals or not old:
            raise ClassError(f"--rename {pair}: write OLD=NEW")
        if old in renamed:
            raise ClassError(f"--rename names {old} twice: {old}={renamed[old]} and {pair}")
        renamed[old] = new
    return renamed


def _refuse_twice(names: Sequence[str]) -> None:
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ClassError(f"two classes are called {repeated[0]}: give one of them another name")


def _refuse_unknown(name: str, known: Sequence[str], flag: str) -> None:
    if name not in known:
        alike = get_close_matches(name, known, n=1)
        hint = f", did you mean {alike[0]}?" if alike else f"; the classes are {_some(known)}"
        raise ClassError(f"{flag}: there is no class {name}{hint}")


def _some(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
