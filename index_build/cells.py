"""The audit of an index so large that searching it exactly for each of its own exemplars would take hours.

Neighbours are looked for in the nearest cells of a k-means only, cell by cell: the price grows with the number of exemplars,
not with its square, and memory holds a few cells at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.index_build.audit import BLOCK, BRUTE_BLOCK, flags_of, plurality
from holdfast.model.answers import Neighbours
from holdfast.model.faiss_library import faiss
from holdfast.model.retrieval.embeddings import Embeddings

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

CELL = 1000  # exemplars a cell, about, if as few vote
MOST_CELLS = 4096
PROBED = 8  # cells that neighbours are looked for in
SAMPLED = 64  # exemplars a cell that the k-means learns from


@dataclass(frozen=True, eq=False)
class Cells:
    """Exemplars by the nearest mean.

    Attributes:
        order: int64 [M], rows, cell by cell.
        bounds: int64 [cells + 1], where each cell begins in `order`.
        near: int64 [cells, PROBED], the cells nearest to each, itself first.

    """

    order: Ints
    bounds: Ints
    near: Ints

    @classmethod
    def of(cls, embeddings: Embeddings, size: int, seed: int = 0) -> "Cells":
        """Cells of about `size` exemplars, of float32 [M, D] embeddings, which may lie in a file."""
        cells = int(np.clip(len(embeddings) // size, 1, MOST_CELLS))
        rows = np.random.default_rng(seed).choice(len(embeddings), min(len(embeddings), SAMPLED * cells), replace=False)
        means = faiss.Kmeans(embeddings.shape[1], cells, niter=8, seed=seed, spherical=True, min_points_per_centroid=1)
        means.train(embeddings[np.sort(rows)])
        blocks = range(0, len(embeddings), BRUTE_BLOCK)
        cell_of = np.concatenate([_nearest(embeddings[i : i + BRUTE_BLOCK], means.centroids, 1)[1][:, 0] for i in blocks])
        order = np.argsort(cell_of, kind="stable")
        bounds = np.searchsorted(cell_of[order], np.arange(cells + 1))
        return cls(order, bounds, _nearest(means.centroids, means.centroids, min(PROBED, cells))[1])

    def __len__(self) -> int:
        return len(self.near)

    def rows(self, cell: int) -> Ints:
        """The exemplars of a cell."""
        return self.order[self.bounds[cell] : self.bounds[cell + 1]]

    def around(self, cell: int) -> Ints:
        """The exemplars of the cells nearest to a cell."""
        return np.concatenate([self.rows(each) for each in self.near[cell].tolist()])


def disagreement_flags_by_cells(
    embeddings: Embeddings, labels: Ints, *, classes: int, k: int, advance: Callable[[int], None]
) -> NDArray[np.uint8]:
    """As `holdfast.index_build.audit.disagreement_flags`, by `plurality_by_cells`: uint8 [M], Flag.DISAGREES or 0."""
    return flags_of(plurality_by_cells(embeddings, labels, classes=classes, k=k, advance=advance), labels)


def plurality_by_cells(embeddings: Embeddings, labels: Ints, *, classes: int, k: int, advance: Callable[[int], None]) -> Ints:
    """As `holdfast.index_build.audit.plurality_of_neighbours`, of neighbours among the nearest cells.

    Args:
        embeddings: float32 [M, D], L2-normalised; may lie in a file.
        labels: int64 [M].
        classes: number of classes.
        k: neighbours that vote.
        advance: called with the number of exemplars that are done.

    Returns:
        int64 [M].

    """
    cells = Cells.of(embeddings, max(CELL, k))
    agreed = np.zeros(len(embeddings), dtype=np.int64)
    for cell in range(len(cells)):
        rows, candidates = cells.rows(cell), cells.around(cell)
        bank = embeddings[candidates]
        voters = min(k, len(candidates) - 1)
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            similarities, places = _nearest(embeddings[some], bank, voters + 1)
            ids = candidates[places]
            agreed[some] = plurality(Neighbours(ids, labels[ids], similarities), some, voters, classes)
            advance(len(some))
    return agreed


def _nearest(queries: Floats, bank: Floats, k: int) -> tuple[Floats, Ints]:
    """Similarities and rows of the k nearest of `bank`: [n, k] each."""
    found: tuple[Floats, Ints] = faiss.knn(np.ascontiguousarray(queries), bank, k, metric=faiss.METRIC_INNER_PRODUCT)
    return found
