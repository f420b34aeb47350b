"""Approximate search by an inverted file: cells of alike exemplars, of which each query looks at the nearest few.

Each exemplar in those cells is compared by its float16 embedding. So every similarity is exact, and what an index misses is a
neighbour in a cell that it did not look at. Inverted file: Jegou, Douze and Schmid 2011,
https://doi.org/10.1109/TPAMI.2010.57.
"""

from collections.abc import Callable, Iterator
from math import log2
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats, Ints
from holdfast.model.faiss_library import faiss, write_index
from holdfast.model.prototypes import ClassPrototypes
from holdfast.model.retrieval.approximate.float16 import Float16Index, read_index, rounded_blocks
from holdfast.model.retrieval.base import check_bank
from holdfast.model.retrieval.embeddings import ReadableBank, rounded

PROBES = 64
"""Cells that a query looks at, where nobody has measured how many it takes."""

POINTS_A_CELL = 64
"""Exemplars that the cells are trained on, for each cell: the k-means sees a sample of a large index."""

ITERATIONS = 8


def cells_of(size: int) -> int:
    """Of an index of so many exemplars: the power of two next to twice the square root, but 32 exemplars a cell at least."""
    return max(1, min(1 << round(log2(2 * max(size, 1) ** 0.5)), size // 32))


class IvfIndex(Float16Index):
    """Cells of float16 embeddings, mapped from the disk once the index is loaded. Immutable once built.

    Embeddings are rounded to float16, which moves a similarity by less than 5e-4; similarities are those of what was rounded.
    In the file are 2 D + 8 bytes for each exemplar, of which the system keeps in memory what is searched; in memory are 16
    bytes more for each, its id and its label.

    Args:
        cells: faiss's IndexIVFScalarQuantizer of float16 by inner product, which finds exemplars by their row numbers.
        ids: int64 [M].
        labels: int64 [M].
        prototypes: of the whole bank.
        probes: cells that a query looks at; at most as many as there are count.

    """

    kind: ClassVar[str] = "ivf"
    _placing: ClassVar[Lock] = Lock()  # of faiss's table of places, which indexes share that look at other numbers of cells

    def __init__(self, cells: Any, ids: Ints, labels: Ints, prototypes: ClassPrototypes, *, probes: int = PROBES) -> None:
        self.probes = min(probes, int(cells.nlist))
        super().__init__(cells, ids, labels, prototypes, faiss.SearchParametersIVF(nprobe=self.probes))

    @classmethod
    def build(cls, bank: ReadableBank, *, seed: int = 0, advance: Callable[[int], None] = lambda _: None) -> Self:
        """Index a bank: cells are trained on a sample, then exemplars are added a block at a time.

        Args:
            bank: its embeddings may be float16, and mapped from a file: they are then read a block at a time.
            seed: of the sample and the k-means; the same seed gives the same index.
            advance: called with the number of exemplars in each block that was added.

        Raises:
            BundleError: ids that are not unique or out of range.
            ContractMismatchError: another number of ids or labels than of embeddings.

        """
        check_bank(bank)
        cells = _trained(bank.embeddings, cells_of(len(bank.ids)), seed)
        _add(cells, bank, advance)
        ids, labels = bank.ids.astype(np.int64, copy=False), bank.labels.astype(np.int64, copy=False)
        return cls(cells, ids, labels, ClassPrototypes.of(bank.embeddings, labels))

    def probing(self, probes: int) -> Self:
        """The same index, whose memory it shares, looking at another number of cells."""
        return type(self)(self._index, self._ids, self._labels, self.prototypes, probes=probes)

    def variants(self, _k: int) -> Iterator[Self]:
        """The same index looking at ever more cells, twice as many each time, the fewest first."""
        probes = 1
        while probes < self.cells:
            yield self.probing(probes)
            probes *= 2
        yield self.probing(self.cells)

    def __str__(self) -> str:
        return f"ivf, {self.probes} of {self.cells:,} cells, float16"

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return int(self._index.nlist)

    @property
    def centroids(self) -> Floats:
        """float32 [cells, D], the middle of each cell."""
        centroids: Floats = self._index.quantizer.reconstruct_n(0, self.cells)
        return centroids

    def blocks(self) -> Iterator[NDArray[np.float16]]:
        """All embeddings, cell by cell and without a copy; see holdfast.model.retrieval.unit_length."""
        lists = self._index.invlists
        for cell in range(self.cells):
            count = lists.list_size(cell)
            if count:
                codes = faiss.rev_swig_ptr(lists.get_codes(cell), count * int(lists.code_size))
                yield codes.view(np.float16).reshape(count, self.dim)

    @property
    def parameters(self) -> dict[str, int]:
        """What it looks at."""
        return {"probes": self.probes}

    def reconstruct(self, ids: Ints) -> Floats:
        """The embeddings of some exemplars float32 [n, D], by their ids int64 [n]. Raises BundleError for an id of none."""
        with self._placing:
            self._index.make_direct_map()  # once: 8 bytes for each exemplar, its cell and its place there
            return super().reconstruct(ids)

    def writers(self) -> tuple[Callable[[Path], None], ...]:
        """Of cells and prototypes."""
        return (self._save_cells, self.prototypes.save)

    def _save_cells(self, path: Path) -> None:
        with self._placing:
            self._index.make_direct_map(False)  # which would be written too
            write_index(self._index, path)

    @classmethod
    def load(cls, cells: Path, prototypes: Path, ids: Ints, labels: Ints, *, probes: int = PROBES) -> Self:
        """Open what `writers` wrote. Check hashes first: faiss's reader is not made for hostile files.

        Raises:
            BundleError: not such files.
            ContractMismatchError: they hold another number of exemplars than there are ids.

        """
        # Embeddings stay where they are in the file, and are mapped.
        index = read_index(cells, len(ids), _is_float16, "IndexIVFScalarQuantizer of float16", faiss.IO_FLAG_MMAP_IFC)
        return cls(index, ids, labels, ClassPrototypes.load(prototypes), probes=probes)


def _is_float16(index: Any) -> bool:
    return isinstance(index, faiss.IndexIVFScalarQuantizer) and index.sq.qtype == faiss.ScalarQuantizer.QT_fp16


def _add(index: Any, bank: ReadableBank, advance: Callable[[int], None]) -> None:
    """Add a bank to a trained index. Each cell takes the memory that it needs: grown by and by, it took up to twice as much."""
    cells = np.zeros(len(bank.ids), dtype=np.int64)
    for rows, block in rounded_blocks(bank):
        cells[rows] = index.quantizer.assign(block, 1)[:, 0]
    for cell, count in enumerate(np.bincount(cells, minlength=index.nlist).tolist()):
        index.invlists.resize(cell, count)
        index.invlists.resize(cell, 0)  # which keeps the room
    for rows, block in rounded_blocks(bank):
        index.add_core(len(block), faiss.swig_ptr(block), None, faiss.swig_ptr(cells[rows]))
        advance(len(block))


def _trained(embeddings: Any, cells: int, seed: int) -> Any:
    """An empty index of that many cells, for float32 or float16 [M, D] embeddings."""
    rng, (size, dim) = np.random.default_rng(seed), embeddings.shape
    points = POINTS_A_CELL * cells
    sample = rounded(embeddings[np.sort(rng.choice(size, points, replace=False))] if points < size else embeddings[:])
    clustering = faiss.Clustering(dim, cells)
    clustering.niter, clustering.seed, clustering.spherical = ITERATIONS, seed, True
    clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, len(sample)
    quantizer = faiss.IndexFlatIP(dim)
    clustering.train(sample, quantizer)
    residuals = False  # codes are the embeddings themselves
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, dim, cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, residuals
    )
    index.own_fields = True  # the quantiser lives as long as the index
    quantizer.this.disown()
    index.train(sample[:1])  # float16 has nothing to learn
    return index
