"""What the approximate kinds have in common: a faiss index of float16 embeddings, with ids, labels and prototypes beside it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model import faiss_library
from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.prototypes import ClassPrototypes
from holdfast.model.retrieval.base import Bank, padded, places_of, refuse_misfit
from holdfast.model.retrieval.embeddings import ReadableBank, rounded

BLOCK = 16_384
"""Rows that are worked on at once: 8 MB of 128 float32 numbers."""

LINKED_AT_ONCE = 65_536
"""Rows that are added at once to a graph, which depends on how many these are."""

EXPORT_BYTES = 4 * 2**30
"""The most that `export` makes of an index, in float32: 8 million rows of 128."""

AGAIN = "build it again with holdfast index"


class Float16Index:
    """A faiss index of float16 embeddings by inner product, which finds exemplars by their row numbers. A kind derives from it.

    Args:
        index: faiss's.
        ids: int64 [M].
        labels: int64 [M].
        prototypes: of the whole bank.
        how: faiss's parameters of a search.

    """

    def __init__(self, index: Any, ids: Ints, labels: Ints, prototypes: ClassPrototypes, how: Any) -> None:
        self.prototypes = prototypes
        self._index, self._ids, self._labels, self._how = index, ids, labels, how

    @property
    def size(self) -> int:
        """Number of exemplars M."""
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Embedding dimension D."""
        return int(self._index.d)

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The nearest exemplars that it finds for float32 [N, D] queries; see `Retriever.search`."""
        refuse_misfit(self.dim, queries, k)
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        similarities, rows = self._index.search(asked, min(k, self.size), params=self._how)
        missing = rows < 0
        similarities[missing] = -np.inf
        ids, labels = np.where(missing, -1, self._ids[rows]), np.where(missing, -1, self._labels[rows])
        return padded(Neighbours(ids, labels, similarities), k)

    def export(self) -> Bank:
        """Every exemplar, in the order of insertion, as float32 copies. Raises BundleError where that would be too much."""
        if (wanted := 4 * self.size * self.dim) > EXPORT_BYTES:
            raise BundleError(
                f"all {self.size:,} embeddings would take {wanted / 2**30:.1f} GiB of memory, more than the"
                f" {EXPORT_BYTES / 2**30:.0f} GiB that are handed out at once: build a smaller index for what needs all of"
                " them, such as an evaluation"
            )
        return Bank(self._index.reconstruct_n(0, self.size), self._ids.copy(), self._labels.copy())

    def reconstruct(self, ids: Ints) -> Floats:
        """The embeddings of some exemplars float32 [n, D], by their ids int64 [n]. Raises BundleError for an id of none."""
        embeddings: Floats = self._index.reconstruct_batch(places_of(ids, self._ids))
        return embeddings


def rounded_blocks(bank: ReadableBank, size: int | None = None) -> Iterator[tuple[slice, Floats]]:
    """The embeddings of a bank, rounded, `size` or BLOCK rows at a time, and which rows they are."""
    size = size or BLOCK
    for start in range(0, len(bank.ids), size):
        rows = slice(start, start + size)
        yield rows, rounded(bank.embeddings[rows])


def add_in_blocks(index: Any, bank: ReadableBank, advance: Callable[[int], None]) -> None:
    """Add a bank to a trained faiss index, rounded, a block at a time; `advance` is called with the size of each."""
    for _, block in rounded_blocks(bank, LINKED_AT_ONCE):
        index.add(block)
        advance(len(block))


def read_index(path: Path, rows: int, is_of_kind: Callable[[Any], bool], kind: str, flags: int = 0) -> Any:
    """Read a faiss index. Check its hash first: faiss's reader is not made for hostile files.

    Args:
        path: what faiss wrote.
        rows: how many exemplars it has to hold.
        is_of_kind: of the index that was read.
        kind: faiss's name of it, for a message.
        flags: of faiss's reader.

    Raises:
        BundleError: no such file, or an index of another kind.
        ContractMismatchError: it holds another number of exemplars.

    """
    index = faiss_library.read_index(path, flags)
    if not is_of_kind(index):
        raise BundleError(f"{path} is not an {kind}; {AGAIN}")
    if index.ntotal != rows:
        raise ContractMismatchError(f"{path} holds {index.ntotal} embeddings, the exemplars' table {rows} rows; {AGAIN}")
    return index
