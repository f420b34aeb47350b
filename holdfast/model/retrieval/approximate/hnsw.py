"""Approximate search by a graph: hierarchical navigable small worlds, Malkov and Yashunin 2018, arXiv 1603.09320.

For votes of few neighbours. A walk visits at least as many exemplars as there are neighbours to find, one at a time, so at k of
some hundreds it costs as much as an exact search of 50,000.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.faiss_library import faiss
from holdfast.model.prototypes import ClassPrototypes
from holdfast.model.retrieval.approximate.vectors import BLOCK, refuse_large_export
from holdfast.model.retrieval.base import Bank, check_bank, padded, places_of, refuse_misfit

LINKS = 32
"""Of each exemplar in the graph; twice as many on its lowest level."""

BREADTH_OF_BUILD = 80
"""Exemplars that are considered for the links of each."""

BREADTH = 128
"""Exemplars that a search keeps in sight, where nobody has measured how many it takes; k where that is more."""

WIDEST = 2048
AGAIN = "build it again with holdfast index"


class HnswIndex:
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
        self.prototypes, self.breadth = prototypes, breadth
        self._graph, self._ids, self._labels = graph, ids, labels
        self._how = faiss.SearchParametersHNSW(efSearch=breadth)

    @classmethod
    def build(cls, bank: Bank, *, advance: Callable[[int], None] = lambda _: None) -> Self:
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
            for start in range(0, len(bank.embeddings), BLOCK):
                # Rounded here, as other kinds round: faiss does it otherwise where a number lies between two of float16.
                block = bank.embeddings[start : start + BLOCK].astype(np.float16).astype(np.float32)
                graph.add(block)
                advance(len(block))
        finally:
            faiss.omp_set_num_threads(threads)
        ids, labels = bank.ids.astype(np.int64), bank.labels.astype(np.int64)
        return cls(graph, ids, labels, ClassPrototypes.of(bank.embeddings, labels))

    def looking(self, breadth: int) -> Self:
        """The same graph, whose memory it shares, with another number of exemplars in sight."""
        return type(self)(self._graph, self._ids, self._labels, self.prototypes, breadth=breadth)

    def variants(self, k: int) -> Iterator[Self]:
        """The same graph with ever more in sight for a vote of k, the cheapest first."""
        breadth = max(16, k)
        while breadth < WIDEST:
            yield self.looking(breadth)
            breadth *= 2
        yield self.looking(max(WIDEST, k))

    def __str__(self) -> str:
        return f"hnsw, {LINKS} links, {self.breadth:,} in sight, float16"

    @property
    def size(self) -> int:
        """Number of exemplars M."""
        return int(self._graph.ntotal)

    @property
    def dim(self) -> int:
        """Embedding dimension D."""
        return int(self._graph.d)

    @property
    def parameters(self) -> dict[str, int]:
        """What it keeps in sight."""
        return {"breadth": self.breadth}

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The nearest exemplars that it finds for float32 [N, D] queries; see `Retriever.search`."""
        refuse_misfit(self, queries, k)
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        similarities, rows = self._graph.search(asked, min(k, self.size), params=self._how)
        missing = rows < 0
        similarities[missing] = -np.inf
        ids, labels = np.where(missing, -1, self._ids[rows]), np.where(missing, -1, self._labels[rows])
        return padded(Neighbours(ids, labels, similarities), k)

    def export(self) -> Bank:
        """Every exemplar, in the order of insertion, as float32 copies. Raises BundleError where that would be too much."""
        refuse_large_export(self.size, self.dim)
        return Bank(self._graph.reconstruct_n(0, self.size), self._ids.copy(), self._labels.copy())

    def reconstruct(self, ids: Ints) -> Floats:
        """The embeddings of some exemplars float32 [n, D], by their ids int64 [n]. Raises BundleError for an id of none."""
        embeddings: Floats = self._graph.reconstruct_batch(places_of(ids, self._ids))
        return embeddings

    def writers(self) -> tuple[Callable[[Path], None], ...]:
        """Of graph and prototypes."""
        return (lambda path: faiss.write_index(self._graph, str(path)), self.prototypes.save)

    @classmethod
    def load(cls, graph: Path, prototypes: Path, ids: Ints, labels: Ints, *, breadth: int = BREADTH) -> Self:
        """Open what `writers` wrote. Check hashes first: faiss's reader is not made for hostile files.

        Raises:
            BundleError: not such files.
            ContractMismatchError: they hold another number of exemplars than there are ids.

        """
        try:
            index: Any = faiss.read_index(str(graph))
        except RuntimeError as error:
            raise BundleError(f"{graph} is not a faiss index: {error}; {AGAIN}") from None
        if not isinstance(index, faiss.IndexHNSWSQ):
            raise BundleError(f"{graph} is not an IndexHNSWSQ; {AGAIN}")
        if index.ntotal != len(ids):
            raise ContractMismatchError(
                f"{graph} holds {index.ntotal} embeddings, the exemplars' table {len(ids)} rows; {AGAIN}"
            )
        return cls(index, ids, labels, ClassPrototypes.load(prototypes), breadth=breadth)
