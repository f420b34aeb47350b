"""Approximate search by an inverted file: cells of alike exemplars, of which each query looks at the nearest few.

Compact codes of the exemplars in those cells say which are likely to be near, by faiss's fast scan; their embeddings, mapped
from the disk, then say which are. So every similarity is exact, and what an index misses is a neighbour in a cell that it did
not look at, or one that its code hides among the candidates. Inverted file: Jegou, Douze and Schmid 2011,
https://doi.org/10.1109/TPAMI.2010.57; fast scan: Andre, Kermarrec and Le Scouarnec 2017, arXiv 1704.07355.
"""

from collections.abc import Callable, Iterator
from math import ceil, log2
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.faiss_library import faiss
from holdfast.model.prototypes import ClassPrototypes
from holdfast.model.retrieval.approximate.vectors import BLOCK, MappedVectors, best_of
from holdfast.model.retrieval.base import Bank, check_bank, padded, places_of, refuse_misfit

PROBES = 64
"""Cells that a query looks at, where nobody has measured how many it takes."""

CANDIDATES = 1.5
"""Exemplars whose embeddings are read, for each neighbour that is wanted: likewise."""

POINTS_A_CELL = 64
"""Exemplars that the cells are trained on, for each cell: the k-means sees a sample of a large index."""

LEAST_POINTS = 1024
"""Exemplars that codes are trained on at least; fewer are repeated."""

ITERATIONS = 8
AGAIN = "build it again with holdfast index"


def cells_of(size: int) -> int:
    """Of an index of so many exemplars: the power of two next to twice the square root, but 32 exemplars a cell at least."""
    return max(1, min(1 << round(log2(2 * max(size, 1) ** 0.5)), size // 32))


class IvfIndex:
    """Cells of codes in memory, embeddings on the disk. Immutable once built.

    Embeddings are rounded to float16, which moves a similarity by less than 5e-4; similarities are those of what was rounded.
    In memory are a code of D / 2 bytes and 8 bytes more for each exemplar, its id and its label.

    Args:
        cells: faiss's index, which finds candidates by their row numbers.
        vectors: all embeddings.
        bank_ids: int64 [M].
        labels: int64 [M].
        prototypes: of the whole bank.
        probes: cells that a query looks at; at most as many as there are count.
        candidates: exemplars whose embeddings are read, for each neighbour wanted, at least 1.

    """

    kind: ClassVar[str] = "ivf"

    def __init__(
        self,
        cells: Any,
        vectors: MappedVectors,
        ids: Ints,
        labels: Ints,
        prototypes: ClassPrototypes,
        *,
        probes: int = PROBES,
        candidates: float = CANDIDATES,
    ) -> None:
        self.prototypes, self.probes, self.candidates = prototypes, min(probes, int(cells.nlist)), candidates
        self._cells, self._vectors, self._ids, self._labels = cells, vectors, ids, labels
        self._how = faiss.SearchParametersIVF(nprobe=self.probes)

    @classmethod
    def build(cls, bank: Bank, *, seed: int = 0, advance: Callable[[int], None] = lambda _: None) -> Self:
        """Index a bank: cells are trained on a sample, then exemplars are added a block at a time.

        Args:
            bank: its embeddings may be float16, and mapped from a file: they are then read, not copied.
            seed: of the sample and the k-means; the same seed gives the same index.
            advance: called with the number of exemplars in each block that was added.

        Raises:
            BundleError: ids that are not unique or out of range.
            ContractMismatchError: another number of ids or labels than of embeddings.

        """
        check_bank(bank)
        vectors = MappedVectors.rounded(bank.embeddings)
        cells = _trained(vectors, cells_of(len(vectors)), seed)
        for start in range(0, len(vectors), BLOCK):
            block = vectors.block(start)
            cells.add(block)
            advance(len(block))
        ids, labels = bank.ids.astype(np.int64), bank.labels.astype(np.int64)
        return cls(cells, vectors, ids, labels, ClassPrototypes.of(vectors.matrix, labels))

    def probing(self, probes: int, candidates: float) -> Self:
        """The same index, whose memory it shares, looking at another number of cells and candidates."""
        return type(self)(
            self._cells, self._vectors, self._ids, self._labels, self.prototypes, probes=probes, candidates=candidates
        )

    def variants(self, _k: int) -> Iterator[Self]:
        """The same index looking at ever more cells, twice as many each time, the fewest first."""
        probes = 1
        while probes < self.cells:
            yield self.probing(probes, self.candidates)
            probes *= 2
        yield self.probing(self.cells, 2 * self.candidates)

    def __str__(self) -> str:
        return f"ivf, {self.probes} of {self.cells:,} cells, {self.candidates:g} candidates a neighbour, float16"

    @property
    def size(self) -> int:
        """Number of exemplars M."""
        return len(self._vectors)

    @property
    def dim(self) -> int:
        """Embedding dimension D."""
        return self._vectors.dim

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return int(self._cells.nlist)

    @property
    def centroids(self) -> Floats:
        """float32 [cells, D], the middle of each cell."""
        centroids: Floats = self._cells.quantizer.reconstruct_n(0, self.cells)
        return centroids

    @property
    def parameters(self) -> dict[str, int | float]:
        """What it looks at."""
        return {"probes": self.probes, "candidates": self.candidates}

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The nearest exemplars that it finds for float32 [N, D] queries; see `Retriever.search`."""
        refuse_misfit(self, queries, k)
        wanted, asked = min(k, self.size), np.ascontiguousarray(queries, dtype=np.float32)
        candidates = self._candidates(asked, min(self.size, ceil(self.candidates * wanted)))
        rows = np.empty((len(asked), wanted), dtype=np.int64)
        similarities = np.empty((len(asked), wanted), dtype=np.float32)
        for i, query in enumerate(asked):
            rows[i], similarities[i] = best_of(self._vectors, query, candidates[i], wanted)
        missing = rows < 0
        ids, labels = np.where(missing, -1, self._ids[rows]), np.where(missing, -1, self._labels[rows])
        return padded(Neighbours(ids, labels, similarities), k)

    def _candidates(self, queries: Floats, wanted: int) -> Ints:
        """Row numbers int64 [N, wanted] of what the codes say is near, -1 where there are fewer."""
        if wanted == self.size and self.probes == self.cells:
            # All of it, which the fast scan would not give: it leaves out what has the lowest of its 8-bit similarities.
            return np.broadcast_to(np.arange(self.size), (len(queries), self.size))
        rows: Ints = self._cells.search(queries, wanted, params=self._how)[1]
        return rows

    def export(self) -> Bank:
        """Every exemplar, in the order of insertion, as float32 copies. Raises BundleError where that would be too much."""
        return Bank(self._vectors.export(), self._ids.copy(), self._labels.copy())

    def reconstruct(self, ids: Ints) -> Floats:
        """The embeddings of some exemplars float32 [n, D], by their ids int64 [n]. Raises BundleError for an id of none."""
        return self._vectors.take(places_of(ids, self._ids))

    def writers(self) -> tuple[Callable[[Path], None], ...]:
        """Of cells, embeddings and prototypes."""
        return (lambda path: faiss.write_index(self._cells, str(path)), self._vectors.save, self.prototypes.save)

    @classmethod
    def load(
        cls,
        cells: Path,
        vectors: Path,
        prototypes: Path,
        ids: Ints,
        labels: Ints,
        *,
        probes: int = PROBES,
        candidates: float = CANDIDATES,
    ) -> Self:
        """Open what `writers` wrote. Check hashes first: faiss's reader is not made for hostile files.

        Raises:
            BundleError: not such files.
            ContractMismatchError: they do not belong together, or hold another number of exemplars than there are ids.

        """
        try:
            index: Any = faiss.read_index(str(cells))
        except RuntimeError as error:
            raise BundleError(f"{cells} is not a faiss index: {error}; {AGAIN}") from None
        if not isinstance(index, faiss.IndexIVFPQFastScan):
            raise BundleError(f"{cells} is not an IndexIVFPQFastScan; {AGAIN}")
        mapped = MappedVectors.open(vectors, len(ids))
        if (index.ntotal, index.d) != (len(mapped), mapped.dim):
            raise ContractMismatchError(
                f"{cells} holds {index.ntotal} x {index.d} embeddings, {vectors} {len(mapped)} x {mapped.dim}; {AGAIN}"
            )
        return cls(index, mapped, ids, labels, ClassPrototypes.load(prototypes), probes=probes, candidates=candidates)


def _trained(vectors: MappedVectors, cells: int, seed: int) -> Any:
    """An empty index of that many cells."""
    rng = np.random.default_rng(seed)
    points = max(POINTS_A_CELL * cells, LEAST_POINTS)
    rows = np.sort(rng.choice(len(vectors), points, replace=False)) if points < len(vectors) else np.arange(len(vectors))
    sample = vectors.take(rows)
    clustering = faiss.Clustering(vectors.dim, cells)
    clustering.niter, clustering.seed, clustering.spherical = ITERATIONS, seed, True
    clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, len(sample)
    quantizer = faiss.IndexFlatIP(vectors.dim)
    clustering.train(sample, quantizer)
    index = faiss.IndexIVFPQFastScan(quantizer, vectors.dim, cells, vectors.dim, 4, faiss.METRIC_INNER_PRODUCT)
    index.own_fields = True  # the quantiser lives as long as the index
    quantizer.this.disown()
    index.train(np.resize(sample, (max(len(sample), LEAST_POINTS), vectors.dim)))
    return index
