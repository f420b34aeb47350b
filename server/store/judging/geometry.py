"""Where the classes of an index lie: their means, how many exemplars each has, and how near neighbours usually are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats, Ints
from holdfast.model.retrieval.base import Bank, Exportable, Retriever

MOST_EXPORTED = 500_000
"""Rows of an index that is asked to hand out its exemplars: all of them are copied."""

SAMPLED = 256
"""Exemplars by which it is told how near neighbours usually are."""

TYPICAL = 0.1
"""Share of a class's exemplars that are less similar to its mean than what counts as typical of it."""

NEAR_DUPLICATE = 1e-3
"""Cosine distance of near-duplicates, where nothing is known of the index."""

STALE = 0.05
"""Share of its rows by which an index may differ before it is looked at anew."""


def unit(vectors: NDArray[np.floating]) -> Floats:
    """Vectors [..., D] of length 1; those of length 0 stay 0."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


@dataclass
class ClassGeometry:
    """Of C classes; `add` lets what was added since be counted.

    Attributes:
        sums: float64 [C, D], the sum of the embeddings of each class.
        counts: int64 [C].
        typical: float32 [C], a similarity to the class's mean that all but a share TYPICAL of its exemplars have.
        near_duplicate: cosine distance below which two exemplars are nearly one: a quarter of what one exemplar in a hundred
            has to its nearest neighbour.

    """

    sums: NDArray[np.float64]
    counts: Ints
    typical: Floats
    near_duplicate: float

    def sum_of(self, label: int) -> NDArray[np.float64]:
        """The sum of the embeddings of a class, 0 for one that there is none of yet."""
        empty: NDArray[np.float64] = np.zeros(self.sums.shape[1])
        return self.sums[label] if label < len(self.sums) else empty

    def is_stale(self, exemplars: int, classes: int) -> bool:
        """Whether an index of so many exemplars and classes is another one by now."""
        there = int(self.counts.sum())
        return classes > len(self.counts) or abs(exemplars - there) > max(10.0, STALE * there)

    def add(self, embeddings: Floats, labels: Ints) -> None:
        """Count exemplars in; of a class that is new, its first ones make it."""
        missing = int(labels.max(initial=-1)) + 1 - len(self.counts)
        if missing > 0:
            self.sums = np.concatenate([self.sums, np.zeros((missing, self.sums.shape[1]))])
            self.counts = np.concatenate([self.counts, np.zeros(missing, np.int64)])
            self.typical = np.concatenate([self.typical, np.full(missing, np.inf, np.float32)])
        np.add.at(self.sums, labels, embeddings)
        np.add.at(self.counts, labels, 1)


def geometry_of(retriever: Retriever, classes: int) -> ClassGeometry | None:
    """Look at an index. None for one that cannot hand out its exemplars, or holds more of them than are copied gladly."""
    if retriever.size > MOST_EXPORTED or not isinstance(retriever, Exportable):
        return None
    bank = retriever.export()
    sums, counts = np.zeros((classes, retriever.dim)), np.bincount(bank.labels, minlength=classes)
    np.add.at(sums, bank.labels, bank.embeddings)
    means = unit(sums)
    own = np.einsum("nd,nd->n", bank.embeddings, means[bank.labels])
    typical = [np.quantile(own[bank.labels == label], TYPICAL) if counts[label] else np.inf for label in range(classes)]
    return ClassGeometry(sums, counts, np.array(typical, np.float32), _near_duplicate(retriever, bank))


def _near_duplicate(retriever: Retriever, bank: Bank) -> float:
    rows = np.linspace(0, len(bank.ids) - 1, min(SAMPLED, len(bank.ids))).astype(np.int64)
    if len(bank.ids) < 2:
        return NEAR_DUPLICATE
    found = retriever.search(bank.embeddings[rows], 2)
    others = np.where(found.ids == bank.ids[rows][:, np.newaxis], -np.inf, found.similarities).max(axis=1)
    # Copies in the index tell nothing of how near different images lie.
    distances = 1 - others[others < 1 - 1e-6]
    return float(np.quantile(distances, 0.01) / 4) if len(distances) else NEAR_DUPLICATE
