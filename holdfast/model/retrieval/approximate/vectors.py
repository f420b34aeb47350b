"""All embeddings as one float16 matrix in a file, mapped into memory and not read into it."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Floats, Ints

BLOCK = 65_536
"""Rows that are worked on at once: 32 MB of 128 float32 numbers."""

EXPORT_BYTES = 4 * 2**30
"""The most that `export` makes of a matrix, in float32: 8 million rows of 128."""


def refuse_large_export(size: int, dim: int) -> None:
    """Refuse to make float32 [size, dim] of an index. Raises BundleError where that is more than EXPORT_BYTES."""
    if (wanted := 4 * size * dim) > EXPORT_BYTES:
        raise BundleError(
            f"all {size:,} embeddings would take {wanted / 2**30:.1f} GiB of memory, more than the"
            f" {EXPORT_BYTES / 2**30:.0f} GiB that are handed out at once: build a smaller index for what needs all of"
            " them, such as an evaluation"
        )


class MappedVectors:
    """float16 [M, D] embeddings in the order of insertion.

    What is searched, attacked and exported is what was rounded. Pages that nobody asks for stay on the disk, and the system
    may drop the others when memory is short.
    """

    def __init__(self, matrix: NDArray[np.float16]) -> None:
        """Take a matrix, in memory or mapped."""
        self.matrix = matrix

    @classmethod
    def rounded(cls, embeddings: Any) -> Self:
        """Of float32 or float16 [M, D] embeddings. float16 ones are taken as they are, others are copied a block at a time."""
        if embeddings.dtype == np.float16:
            return cls(np.asarray(embeddings))
        matrix = np.empty(embeddings.shape, dtype=np.float16)
        for start in range(0, len(embeddings), BLOCK):
            matrix[start : start + BLOCK] = embeddings[start : start + BLOCK]
        return cls(matrix)

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def dim(self) -> int:
        """Embedding dimension D."""
        return int(self.matrix.shape[1])

    def block(self, start: int) -> Floats:
        """The rows from `start` on, at most BLOCK of them, as float32."""
        return self.matrix[start : start + BLOCK].astype(np.float32)

    def take(self, rows: Ints) -> Floats:
        """Some rows as float32; in ascending order they are read the fastest."""
        return self.matrix[rows].astype(np.float32)

    def export(self) -> Floats:
        """All of them as float32.

        Raises:
            BundleError: that is more than EXPORT_BYTES.

        """
        refuse_large_export(len(self), self.dim)
        return self.matrix.astype(np.float32)

    def save(self, path: Path) -> None:
        """Write a .npy file."""
        written = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=self.matrix.shape)
        for start in range(0, len(self), BLOCK):
            written[start : start + BLOCK] = self.matrix[start : start + BLOCK]
        written.flush()

    @classmethod
    def open(cls, path: Path, size: int) -> Self:
        """Map a file that `save` wrote, to be read only.

        Raises:
            BundleError: it is no such file.
            ContractMismatchError: it has another number of rows than `size`.

        """
        try:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise BundleError(f"{path} is not a matrix of embeddings: {error}; run holdfast index again") from None
        if mapped.dtype != np.float16 or mapped.ndim != 2:
            raise BundleError(f"{path} holds {mapped.dtype} {list(mapped.shape)}, not float16 [M, D]; run holdfast index again")
        if len(mapped) != size:
            raise ContractMismatchError(
                f"{path} holds {len(mapped)} embeddings, the exemplars' table {size} rows; run holdfast index again"
            )
        # A plain array over the mapping: indexing a numpy.memmap makes an object of its class each time.
        return cls(np.asarray(mapped))


def best_of(vectors: MappedVectors, query: Floats, candidates: Ints, k: int) -> tuple[Ints, Floats]:
    """The k most similar of some rows, exactly.

    Args:
        vectors: of all exemplars.
        query: float32 [D].
        candidates: int64 [n], distinct row numbers, -1 for none.
        k: how many are wanted.

    Returns:
        Rows int64 [k], -1 where there are fewer, and similarities float32 [k], the largest first, -inf where there are fewer.

    """
    rows = np.sort(candidates[candidates >= 0])
    similarities = vectors.take(rows) @ query
    if len(rows) > k:
        chosen = np.argpartition(similarities, len(rows) - k)[len(rows) - k :]
        rows, similarities = rows[chosen], similarities[chosen]
    order = np.argsort(-similarities, kind="stable")
    missing = k - len(order)
    return (
        np.pad(rows[order], (0, missing), constant_values=-1),
        np.pad(similarities[order], (0, missing), constant_values=-np.inf),
    )
