"""Embeddings of an index that was read from a file: each has to be of unit length, or its similarities are no cosines.

One that is longer is everybody's nearest neighbour, and one that is not a number makes nonsense of every search.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import BundleError

TOLERANCE = 4e-3
"""Of a squared length. Embeddings that float16 holds are off by a quarter of it."""

BLOCK = 65_536
"""Rows that are looked at at once, about."""


@runtime_checkable
class Legible(Protocol):
    """A retriever whose embeddings can all be read without a copy of them."""

    def blocks(self) -> Iterator[NDArray[Any]]:
        """All embeddings, float32 or float16 [n, D] at a time, in any order."""


def other_lengths(embeddings: NDArray[Any]) -> int:
    """How many of float32 or float16 [n, D] embeddings are not finite or not of unit length."""
    wrong = 0
    for start in range(0, len(embeddings), BLOCK):
        rows = embeddings[start : start + BLOCK].astype(np.float32, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("nd,nd->n", rows, rows)
        wrong += len(rows) - int(np.count_nonzero(np.abs(squares - 1) <= TOLERANCE))  # NaN is not below either
    return wrong


def refuse_other_lengths(retriever: object, path: Path) -> None:
    """Raises BundleError where an embedding is not finite or not of unit length.

    Args:
        retriever: is looked at where it is `Legible`.
        path: its file, for the message.

    """
    if not isinstance(retriever, Legible):
        return
    if wrong := sum(map(other_lengths, retriever.blocks())):
        raise BundleError(
            f"{path} holds {wrong} embeddings that are not of unit length, or not finite: embed them again with holdfast index"
        )
