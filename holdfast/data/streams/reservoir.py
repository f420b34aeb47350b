"""Which images of a stream are kept to be seen again: a uniform sample of bounded size, drawn while they come."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def reservoir(rows: Rows, size: int, seed: Sequence[int]) -> Rows:
    """`size` of the rows, or all where there are fewer, each set of so many as likely as any other: int64, ascending.

    Algorithm R (Vitter 1985): the first `size` are kept, and the n-th of the others takes the place of one of them with
    probability size / n. It looks at each row once and never at one that it has let go, so it would do for a stream.

    Args:
        rows: int64 [N], in the order in which they come.
        size: how many are kept, at least 0.
        seed: of the draw.

    """
    if size < 1:
        return rows[:0]
    kept = rows[:size].copy()
    if len(rows) > size:
        seen = np.arange(size + 1, len(rows) + 1)
        places = np.random.default_rng(seed).integers(0, seen)
        for row, place in zip(rows[size:].tolist(), places.tolist(), strict=True):
            if place < size:
                kept[place] = row
    return np.sort(kept)


def replayed(chunks: Sequence[Rows], share: float, seed: int) -> Rows:
    """The rows that are kept of chunks that are over: int64, ascending.

    Of each chunk its own reservoir keeps `share`, so that each row of the stream so far is kept with the same probability. One
    reservoir for all chunks cannot grow with the stream: what it has let go does not come back.

    Args:
        chunks: the rows of each, in the order in which they came.
        share: of each that is kept, in [0, 1]; at least one row of each, unless it is 0.
        seed: of the draw.

    """
    sizes = [max(1, round(share * len(rows))) if share else 0 for rows in chunks]
    kept = [reservoir(rows, size, (seed, number)) for number, (rows, size) in enumerate(zip(chunks, sizes, strict=True))]
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, np.int64)
