"""What is checked of an index before it is committed: that it finds what there is, and which labels look wrong."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.exemplars import Flag
from holdfast.model.answers import Neighbours
from holdfast.model.retrieval.base import DECIMALS, Retriever, nearest
from holdfast.model.retrieval.embeddings import Embeddings, ReadableBank
from holdfast.model.vote import VoteParameters, vote

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

BLOCK = 1024  # queries searched at once
BRUTE_BLOCK = 16384  # exemplars multiplied at once
SAMPLE = 256  # exemplars whose neighbours are recomputed by brute force
EXACT_ROWS = 200_000
"""Up to so many exemplars each is searched for among all: minutes. The price grows with the square."""
ROUNDED = 1e-3
"""A kind of index that is not exact may keep embeddings in float16, which moves a similarity by less."""
# Two similarities rounded to DECIMALS that differ by one unit may be the same number, summed in another order.
SAME = 2 * 10**-DECIMALS


class RowNumbers:
    """Which row each exemplar is, by its id."""

    def __init__(self, ids: Labels) -> None:
        self._ids = ids
        self._order = None if np.array_equal(ids, np.arange(len(ids))) else np.argsort(ids)

    def of(self, ids: Labels) -> Labels:
        """Rows of ids of any shape; -1 stays -1."""
        if self._order is None:
            return ids
        rows: Labels = np.where(ids < 0, -1, self._order[np.searchsorted(self._ids, ids.clip(0), sorter=self._order)])
        return rows


def recall_at_k(index: Retriever, bank: ReadableBank, k: int, *, seed: int = 0, same: float = SAME) -> float:
    """Share of the k nearest exemplars that the index finds, by brute force in numpy, over a sample of exemplars.

    An exemplar as similar as the true k-th neighbour, within rounding, is as good as that one. A row that names an exemplar
    twice counts for nothing.

    Args:
        index: over `bank`.
        bank: the exemplars; embeddings may lie in a file.
        k: neighbours a query, at most M.
        seed: of the sample.
        same: similarities that differ by no more may be the same number.

    """
    embeddings = bank.embeddings
    rows = np.random.default_rng(seed).choice(len(embeddings), min(SAMPLE, len(embeddings)), replace=False)
    queries = embeddings[rows]
    found = RowNumbers(bank.ids).of(nearest(index, queries, k).ids)
    kth = _kth_similarity(queries, embeddings, k)
    right = found >= 0
    for query, ids in enumerate(found):
        right[query] &= embeddings[ids.clip(0)] @ queries[query] >= kth[query] - same
    distinct = np.array([len(np.unique(ids[ids >= 0])) == (ids >= 0).sum() for ids in found])
    return float(np.mean(right & distinct[:, np.newaxis]))


def _kth_similarity(queries: Floats, embeddings: Embeddings, k: int) -> Floats:
    """The similarity of the k-th nearest of `embeddings`, by products of blocks of them. Shape: [n, D], [M, D] -> [n]."""
    best = np.zeros((len(queries), 0), dtype=np.float32)
    for start in range(0, len(embeddings), BRUTE_BLOCK):
        best = np.concatenate([best, queries @ embeddings[start : start + BRUTE_BLOCK].T], axis=1)
        if best.shape[1] > k:
            best = np.partition(best, -k, axis=1)[:, -k:]
    kth: Floats = best.min(axis=1)
    return kth


def disagreement_flags(
    index: Retriever, bank: ReadableBank, *, classes: int, k: int, advance: Callable[[int], None]
) -> NDArray[np.uint8]:
    """Flag exemplars whose label is not the plurality of their own k nearest neighbours, themselves left out.

    Catches wrong labels and more than 99 % of clean-label poisons on CIFAR-10 (Peri et al. 2019, arXiv 1909.13374),
    but no poison that outnumbers the k neighbours.

    Args:
        index: over `bank`.
        bank: the exemplars, at least 2; embeddings may lie in a file.
        classes: number of classes.
        k: neighbours that vote.
        advance: called with the number of exemplars that are done.

    Returns:
        uint8 [M], Flag.DISAGREES or 0.

    """
    agreed = plurality_of_neighbours(index, bank, classes=classes, k=k, advance=advance)
    return flags_of(agreed, bank.labels)


def flags_of(agreed: Labels, labels: Labels) -> NDArray[np.uint8]:
    """Flag.DISAGREES where the plurality of the neighbours is not the label, int64 [M] each; else 0. uint8 [M]."""
    return np.where(agreed != labels, np.uint8(Flag.DISAGREES), np.uint8(0))


def plurality_of_neighbours(
    index: Retriever, bank: ReadableBank, *, classes: int, k: int, advance: Callable[[int], None]
) -> Labels:
    """The label that most of each exemplar's k nearest neighbours have, itself left out: int64 [M].

    Arguments as of `disagreement_flags`.
    """
    embeddings, row_numbers = bank.embeddings, RowNumbers(bank.ids)
    agreed = np.zeros(len(embeddings), dtype=np.int64)
    voters = min(k, len(embeddings) - 1)
    for start in range(0, len(embeddings), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(embeddings)))
        found = nearest(index, embeddings[rows], voters + 1)
        found = Neighbours(row_numbers.of(found.ids), found.labels, found.similarities)
        agreed[rows] = plurality(found, rows, voters, classes)
        advance(len(rows))
    return agreed


def plurality(found: Neighbours, rows: Labels, voters: int, classes: int) -> Labels:
    """What the neighbours of exemplars say, themselves left out: int64 [n].

    Args:
        found: [n, voters + 1], their neighbours, with row numbers as ids.
        rows: int64 [n], which exemplars these are.
        voters: neighbours that vote once each, at least 0.
        classes: number of classes.

    """
    if voters == 0:
        return found.labels[:, 0]
    itself = found.ids == rows[:, np.newaxis]
    # Among many duplicates an exemplar may not find itself: then the farthest neighbour gives way.
    itself[~itself.any(axis=1), -1] = True
    similarities = found.similarities[~itself].reshape(-1, voters)
    once_each = VoteParameters(k=voters, weighting="uniform")
    return vote(similarities, found.labels[~itself].reshape(-1, voters), classes, once_each).labels
