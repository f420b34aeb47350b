"""What a suite has done, in a file that survives an interruption: the work of hours is not done twice."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic as clock
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.attack import AttackKind
from holdfast.attacks.search.worst_case import WorstCase
from holdfast.errors import HoldfastError
from holdfast.files import replace_atomically


@dataclass(frozen=True, slots=True)
class Tried:
    """What one attack of a suite came to.

    Attributes:
        name: of the attack.
        kind: what it knew.
        tried: images that had survived those before it; all, where every attack tries all.
        found: those it fooled, or for which it found the best so far.
        seconds: wall time.

    """

    name: str
    kind: AttackKind
    tried: int
    found: int
    seconds: float


@dataclass
class Journal:
    """How far a suite has got: the attacks that are done, and the position of the present one.

    Attributes:
        fingerprint: of everything that must be the same for this work to count.
        path: where it is kept; nowhere without one.
        tried: the attacks that are done.
        rows: int64 [n], the survivors when the present attack began.
        position: how many of them it has tried.
        seconds: wall time it has taken so far.
        saved: when it was last written; infinitely far in the past where it never was.
        new: whether anything has happened since; not while it is being noted, where an interruption would leave half of it.

    """

    fingerprint: str
    path: Path | None = None
    tried: list[Tried] = field(default_factory=list)
    rows: NDArray[np.int64] | None = None
    position: int = 0
    seconds: float = 0.0
    saved: float = -math.inf
    new: bool = False

    @classmethod
    def open(cls, path: Path | None, fingerprint: str, worst_case: WorstCase) -> Self:
        """Go on from the file at `path`, bringing `worst_case` to where it was; start anew where there is none.

        Raises:
            HoldfastError: the file cannot be read, or is of other work.

        """
        if path is None or not path.exists():
            return cls(fingerprint, path)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            kept: dict[str, Any] = json.loads(str(arrays.pop("journal")))
        except (OSError, ValueError, KeyError) as error:
            raise HoldfastError(f"{path} cannot be read ({error}); remove it to start this attack anew") from error
        if kept["fingerprint"] != fingerprint:
            raise HoldfastError(
                f"{path} is the work of another evaluation; name another directory, or remove it to start anew."
                f"\n  there: {kept['fingerprint']}\n  here:  {fingerprint}"
            )
        rows = arrays.pop("rows") if kept["begun"] else None
        worst_case.restore(arrays)
        tried = [Tried(**(entry | {"kind": AttackKind(entry["kind"])})) for entry in kept["tried"]]
        return cls(fingerprint, path, tried, rows, kept["position"], kept["seconds"])

    def begin(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The images the present attack still has to try: all of `rows` where it is new."""
        if self.rows is None:
            self.position, self.seconds, self.rows = 0, 0.0, rows
        return self.rows[self.position :]

    def advance(self, images: int, seconds: float) -> None:
        """The present attack has tried so many more, in so many seconds."""
        self.new = False
        self.position += images
        self.seconds += seconds
        self.new = True

    def finish(self, name: str, kind: AttackKind, worst_case: WorstCase) -> None:
        """The present attack is done; what it found is in `worst_case`."""
        self.new = False
        rows = np.zeros(0, np.int64) if self.rows is None else self.rows
        self.tried.append(Tried(name, kind, len(rows), worst_case.credited(name, rows), self.seconds))
        self.rows = None
        self.new = True

    def save(self, worst_case: WorstCase, *, every: float = 0.0) -> None:
        """Write all of it, or nothing; not at all where nothing is new, or if it was written less than `every` seconds ago."""
        if self.path is None or not self.new or clock() - self.saved < every:
            return
        kept = {
            "fingerprint": self.fingerprint,
            "tried": [asdict(entry) for entry in self.tried],
            "begun": self.rows is not None,
            "position": self.position,
            "seconds": self.seconds,
        }
        arrays = worst_case.state() | ({"rows": self.rows} if self.rows is not None else {})
        with replace_atomically(self.path) as temporary:
            np.savez(temporary, journal=np.array(json.dumps(kept)), **arrays)  # type: ignore[arg-type]
        self.saved, self.new = clock(), False
