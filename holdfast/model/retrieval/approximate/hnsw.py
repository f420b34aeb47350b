"""Approximate search by a graph: hierarchical navigable small worlds, Malkov and Yashunin 2018, arXiv 1603.09320.

For votes of few neighbours. A walk visits at least as many exemplars as there are neighbours to find, one at a time, so at k of
some hundreds it costs as much as an exact search of 50,000.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Ints
from holdfast.model.faiss_library import faiss, write_index
from holdfast.model.prototypes import ClassPrototypes
from holdfast.model.retrieval.approximate.float16 import Float16Index, add_in_blocks, read_index
from holdfast.model.retrieval.base import check_bank
from holdfast.model.retrieval.embeddings import ReadableBank

LINKS = 32
"""Of each exemplar in the graph; twice as many on its lowest level."""

BREADTH_OF_BUILD = 80
"""Exemplars that are considered for the links of each."""

BREADTH = 128
"""Exemplars that a search keeps in sight, where nobody has measured how many it takes; k where that is more."""

WIDEST = 2048


class HnswIndex(Float16Index):
    """A graph over float16 embeddings, in memory: 2 D + 8 LINKS bytes for each exemplar. Immutable once built.

    Embeddings are rounded to float16, which moves a similarity by less than 5e-4; similarities are those of what was rounded.

    Args:
        graph: faiss's IndexHNSWSQ by inner product, which finds exemplars by their row numbers.
        ids: int64 [M].
        labels: int64 [M].
        prototypes: of the whole bank.
        breadth: exemplars that a search keeps in sight.

    """

    kind: ClassVar[str] = "hnsw"

    def __init__(self, graph: Any, ids: Ints, labels: Ints, prototypes: ClassPrototypes, *, breadth: int = BREADTH) -> None:
        super().__init__(graph, ids, labels, prototypes, faiss.SearchParametersHNSW(efSearch=breadth))
        self.breadth = breadth

    @classmethod
    def build(cls, bank: ReadableBank, *, advance: Callable[[int], None] = lambda _: None) -> Self:
        """Link a bank's exemplars, on one thread: the graph depends on the order, and so is the same each time.

        Args:
            bank: what to index.
            advance: called with the number of exemplars in each block that was added.

        Raises:
            BundleError: ids that are not unique or out of range.
            ContractMismatchError: another number of ids or labels than of embeddings.

        """
        check_bank(bank)
        dim = bank.embeddings.shape[1]
        graph = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_fp16, LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = BREADTH_OF_BUILD
        graph.train(np.zeros((1, dim), dtype=np.float32))  # float16 has nothing to learn
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            add_in_blocks(graph, bank, advance)
        finally:
            faiss.omp_set_num_threads(threads)
        ids, labels = bank.ids.astype(np.int64, copy=False), bank.labels.astype(np.int64, copy=False)
        return cls(graph, ids, labels, ClassPrototypes.of(bank.embeddings, labels))

    def looking(self, breadth: int) -> Self:
        """The same graph, whose memory it shares, with another number of exemplars in sight."""
        return type(self)(self._index, self._ids, self._labels, self.prototypes, breadth=breadth)

    def variants(self, k: int) -> Iterator[Self]:
        """The same graph with ever more in sight for a vote of k, the cheapest first."""
        breadth = max(16, k)
        while breadth < WIDEST:
            yield self.looking(breadth)
            breadth *= 2
        yield self.looking(max(WIDEST, k))

    def __str__(self) -> str:
        return f"hnsw, {LINKS} links, {self.breadth:,} in sight, float16"

    def blocks(self) -> Iterator[NDArray[np.float16]]:
        """All embeddings, without a copy; see holdfast.model.retrieval.unit_length."""
        codes = faiss.downcast_index(self._index.storage).codes
        yield faiss.rev_swig_ptr(codes.data(), codes.size()).view(np.float16).reshape(-1, self.dim)

    @property
    def parameters(self) -> dict[str, int]:
        """What it keeps in sight."""
        return {"breadth": self.breadth}

    def writers(self) -> tuple[Callable[[Path], None], ...]:
        """Of graph and prototypes."""
        return (lambda path: write_index(self._index, path), self.prototypes.save)

    @classmethod
    def load(cls, graph: Path, prototypes: Path, ids: Ints, labels: Ints, *, breadth: int = BREADTH) -> Self:
        """Open what `writers` wrote. Check hashes first: faiss's reader is not made for hostile files.

        Raises:
            BundleError: not such files.
            ContractMismatchError: they hold another number of exemplars than there are ids.

        """
        index = read_index(graph, len(ids), lambda read: isinstance(read, faiss.IndexHNSWSQ), "IndexHNSWSQ")
        return cls(index, ids, labels, ClassPrototypes.load(prototypes), breadth=breadth)
