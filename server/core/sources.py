"""What is known of exemplars beside their classes: where their images came from, and how the index builder marked them."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.exemplars import Exemplars
from holdfast.model.answers import Ints


class SourceLookup(Protocol):
    """Where the images of exemplars came from, by their ids."""

    def of(self, ids: Ints) -> list[str]:
        """One name for each id of int64 [n]; "" for one that is not known."""


class ExemplarLookup(SourceLookup, Protocol):
    """The same, and how they are marked. It is looked up in the process that runs the model alone."""

    def flags(self, ids: Ints) -> NDArray[np.uint8]:
        """Bits of `Flag` for each id of int64 [n]: uint8 [n], 0 of one that is not known."""


class NoSources:
    """Of a model that names none."""

    def of(self, ids: Ints) -> list[str]:
        """An empty name for each."""
        return [""] * len(ids)

    def flags(self, ids: Ints) -> NDArray[np.uint8]:
        """No mark for any."""
        return np.zeros(len(ids), dtype=np.uint8)


class TableSources:
    """Those of a bundle's table of exemplars, which is read when it is first asked for."""

    def __init__(self, read: Callable[[], Exemplars]) -> None:
        self._read = read

    def of(self, ids: Ints) -> list[str]:
        """One name for each id of int64 [n]; "" for one that is not in the table."""
        sources: Any = self._table.sources
        return [str(sources[row]) if row >= 0 else "" for row in self._rows(ids).tolist()]

    def flags(self, ids: Ints) -> NDArray[np.uint8]:
        """Bits of `Flag` for each id of int64 [n]: uint8 [n], 0 of one that is not in the table."""
        rows = self._rows(ids)
        flags = np.zeros(len(ids), dtype=np.uint8)
        flags[rows >= 0] = self._table.flags[rows[rows >= 0]]
        return flags

    @cached_property
    def _table(self) -> Exemplars:
        return self._read()

    @cached_property
    def _order(self) -> Ints | None:
        """The rows by ascending id; None where ids are row numbers, as the index builder writes them."""
        ids = self._table.ids
        return None if np.array_equal(ids, np.arange(len(ids))) else np.argsort(ids)

    def _rows(self, ids: Ints) -> Ints:
        """The row of each id, -1 for one that there is none of."""
        known, order = self._table.ids, self._order
        if not len(known):
            return np.full(len(ids), -1)
        if order is None:
            return np.where((ids >= 0) & (ids < len(known)), ids, -1)
        rows = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(order) - 1)]
        return np.where(known[rows] == ids, rows, -1)
