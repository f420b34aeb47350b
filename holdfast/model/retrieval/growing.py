"""Arrays that grow at their end, and are shared by everybody who has seen a beginning of them."""

import threading
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

FIRST_ROWS = 64
"""Rows that there is room for at first."""


class GrowingArray(Generic[Scalar]):
    """The first `count` rows of a buffer [capacity, ...], immutable. What comes after them belongs to longer ones.

    An array that is made longer shares the buffer with the longer one, as long as nobody else has made it longer before and
    there is room; else the rows are copied to a buffer twice as long. So n rows cost n copies in all, however they come.
    """

    def __init__(self, buffer: "_Buffer[Scalar]", count: int) -> None:
        self._buffer, self.count = buffer, count

    @classmethod
    def of(cls, rows: NDArray[Scalar]) -> Self:
        """A copy of some rows, with room for more."""
        values: NDArray[Scalar] = np.empty((max(FIRST_ROWS, 2 * len(rows)), *rows.shape[1:]), dtype=rows.dtype)
        values[: len(rows)] = rows
        return cls(_Buffer(values, len(rows)), len(rows))

    def __len__(self) -> int:
        return self.count

    @property
    def rows(self) -> NDArray[Scalar]:
        """A view of the rows [count, ...], to read."""
        view = self._buffer.values[: self.count]
        view.flags.writeable = False
        return view

    def shares(self, other: "GrowingArray[Scalar]") -> bool:
        """Whether both are in one buffer."""
        return self._buffer is other._buffer  # noqa: SLF001 - of its own kind

    def extended(self, more: NDArray[Scalar]) -> Self:
        """These rows and more after them; this array stays as it is."""
        if self._buffer.append(self.count, more):
            return type(self)(self._buffer, self.count + len(more))
        return type(self).of(np.concatenate([self.rows, more]))


class _Buffer(Generic[Scalar]):
    """Memory of several arrays. Rows are written once, by whoever comes first."""

    def __init__(self, values: NDArray[Scalar], used: int) -> None:
        self.values: NDArray[Any] = values
        self._used = used
        self._appending = threading.Lock()

    def append(self, count: int, more: NDArray[Scalar]) -> bool:
        """Write rows behind the first `count`, unless something is there or there is no room."""
        with self._appending:
            end = count + len(more)
            if count != self._used or end > len(self.values):
                return False
            self.values[count:end] = more
            self._used = end
            return True
