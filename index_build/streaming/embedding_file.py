"""Embeddings in a file, of which memory holds what is asked for."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import BundleError

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

BLOCK = 65536  # rows copied at once


class EmbeddingFile:
    """Embeddings in a file, float32 [M, D]. Rows are read when they are asked for, and not mapped: mapped pages are resident.

    It is read and changed as an array is: `file[start:stop]`, `file[rows]` of int64 [n], each in 0..M - 1, and `file[rows] =
    values`. `np.asarray(file)` reads all of it.

    Args:
        path: of the file, which is begun anew.
        dim: D.

    """

    def __init__(self, path: Path, dim: int) -> None:
        self._path, self._dim, self._rows = path, dim, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    @property
    def shape(self) -> tuple[int, int]:
        """(M, D)."""
        return self._rows, self._dim

    def __len__(self) -> int:
        return self._rows

    def append(self, embeddings: NDArray[np.floating]) -> None:
        """Write more rows [n, D] at the end."""
        with self._path.open("ab") as file:
            for start in range(0, len(embeddings), BLOCK):
                np.ascontiguousarray(embeddings[start : start + BLOCK], dtype=np.float32).tofile(file)
        self._rows += len(embeddings)

    def __getitem__(self, rows: slice | Ints, /) -> Floats:
        found, width = np.empty((0, self._dim), np.float32), 4 * self._dim
        places = self._places(rows)
        if len(places):
            found = np.empty((len(places), self._dim), np.float32)
            bytes_found = found.data.cast("B")
            with self._path.open("rb") as file:
                for start, stop, first in _runs(places):
                    wanted = bytes_found[start * width : stop * width]
                    while len(wanted):
                        read = os.preadv(file.fileno(), [wanted], first * width + (stop - start) * width - len(wanted))
                        if not read:
                            raise BundleError(f"{self._path} was cut short while it was used: run the same command again")
                        wanted = wanted[read:]
        return found

    def __setitem__(self, rows: slice | Ints, values: NDArray[np.floating], /) -> None:
        places, width = self._places(rows), 4 * self._dim
        new = np.ascontiguousarray(np.broadcast_to(values, (len(places), self._dim)), dtype=np.float32)
        with self._path.open("r+b") as file:
            for start, stop, first in _runs(places):
                file.seek(first * width)
                file.write(new[start:stop].data)

    def keep(self, rows: Ints) -> None:
        """Drop all rows but these, int64 [n] and ascending, in place."""
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            self[start : start + len(part)] = self[part]  # a row moves forward only
        with self._path.open("r+b") as file:
            file.truncate(len(rows) * 4 * self._dim)
        self._rows = len(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All rows, in memory."""
        if copy is False:
            raise ValueError("a file becomes an array only by a copy")
        return self[:].astype(dtype or np.float32, copy=False)

    def _places(self, rows: slice | Ints) -> Ints:
        places = np.arange(self._rows)[rows] if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)
        if len(places) and not 0 <= places.min() <= places.max() < self._rows:
            raise IndexError(f"rows {places.min()} to {places.max()} of {self._rows}")
        return places


def _runs(rows: Ints) -> list[tuple[int, int, int]]:
    """Rows that follow each other, as (start, stop) among `rows` and the first of them."""
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    stops = np.append(starts, len(rows))[1:]
    return list(zip(starts.tolist(), stops.tolist(), rows[starts].tolist(), strict=True))
