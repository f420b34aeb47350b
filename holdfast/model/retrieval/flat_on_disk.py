"""Exact nearest neighbours among exemplars whose embeddings stay in a file: for the index builder, which searches little."""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.faiss_library import faiss
from holdfast.model.prototypes import ClassPrototypes
from holdfast.model.retrieval.base import check_bank, padded, places_of, refuse_misfit
from holdfast.model.retrieval.embeddings import ReadableBank, rounded
from holdfast.model.retrieval.flat import prepare_exact_search, write_flat
from holdfast.model.retrieval.tombstones import merged

BLOCK_BYTES = 32 * 2**20
"""Of embeddings that are in memory at once, about."""

STEP = 512
"""Blocks are of a multiple of so many rows, as a search in memory takes them: so both give the same bits."""


class FlatIndexOnDisk:
    """Exact search by inner product, which reads all embeddings for each call of `search`. It is written as a `FlatIndex` is.

    Neighbours, files and prototypes are those of a `FlatIndex` of the same bank; the order of equals may differ. The bank must
    stay as it is while the index lives.
    """

    kind: ClassVar[str] = "flat"

    def __init__(self, bank: ReadableBank, *, half: bool = False) -> None:
        self._bank, self.half = bank, half
        prepare_exact_search(self.dim)

    @classmethod
    def build(cls, bank: ReadableBank, *, half: bool = False) -> Self:
        """Take a bank; nothing is read yet. With `half` its embeddings are rounded to float16 wherever they are read.

        Raises:
            BundleError: ids that are not unique or out of range.
            ContractMismatchError: another number of ids or labels than of embeddings.

        """
        check_bank(bank)
        return cls(bank, half=half)

    def __str__(self) -> str:
        return f"flat, {'float16' if self.half else 'float32'} on disk"

    @property
    def size(self) -> int:
        """Number of exemplars M."""
        return len(self._bank.ids)

    @property
    def dim(self) -> int:
        """Embedding dimension D."""
        return self._bank.embeddings.shape[1]

    @property
    def parameters(self) -> dict[str, int]:
        """None."""
        return {}

    @cached_property
    def prototypes(self) -> ClassPrototypes:
        """They stand for all exemplars."""
        return ClassPrototypes.of(self._bank.embeddings, self._bank.labels)

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The k nearest exemplars of float32 [N, D] queries; see `Retriever.search`."""
        refuse_misfit(self.dim, queries, k)
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        nobody = np.zeros((len(asked), 0), dtype=np.int64)
        found = padded(Neighbours(nobody, nobody, nobody.astype(np.float32)), k)
        for start, block in self._blocks():
            similarities, places = faiss.knn(asked, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            rows = places + start
            found = merged(found, Neighbours(self._bank.ids[rows], self._bank.labels[rows], similarities), k)
        return found

    def _blocks(self) -> Iterator[tuple[int, Floats]]:
        rows = max(1, BLOCK_BYTES // (4 * self.dim * STEP)) * STEP
        for start in range(0, self.size, rows):
            block = self._bank.embeddings[start : start + rows]
            if self.half:
                block = rounded(block)
            yield start, np.ascontiguousarray(block)

    def reconstruct(self, ids: Ints) -> Floats:
        """The embeddings of exemplars float32 [n, D], by their ids int64 [n]. Raises BundleError for an id of none."""
        found = self._bank.embeddings[places_of(ids, self._bank.ids)]
        return rounded(found) if self.half else found

    def writers(self) -> tuple[Callable[[Path], None]]:
        """Of its one file."""
        return (self.save,)

    def save(self, path: Path) -> None:
        """Write what `FlatIndex.load` reads."""
        write_flat(path, self._bank.embeddings, self._bank.ids, half=self.half)
