"""What answers are like where nobody attacks: those to the bundle's held-out images."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.model.answers import Answers, Floats, Ints
from holdfast.model.classifier import Classifier, Retrieval
from holdfast.model.retrieval.base import SPARE

MOST_IMAGES = 1000
"""Held-out images that are answered once for each bundle; of more, these are drawn."""

AT_ONCE = 64

LEAST_OF_CLASS = 30
"""Held-out images of one answer, below which those of all answers stand in for them."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Of n held-out images.

    Attributes:
        embeddings: float32 [n, D].
        margins: float32 [n], soft margins, ascending; empty where the index has none.
        distances: float32 [n], cosine distances to the k-th neighbour, ascending.
        of_class: C of float32, the distances of the images answered with each label, ascending; all, where these are few.
        nearest: float32 [n], cosine similarities to the nearest exemplar, ascending.
        leads: float32 [n], by how much the answer's share of the vote leads the next one's, ascending.
        classes: float64 [C], shares of the answered labels.

    """

    embeddings: Floats
    margins: Floats
    distances: Floats
    of_class: tuple[Floats, ...]
    nearest: Floats
    leads: Floats
    classes: NDArray[np.float64]

    @classmethod
    def of(cls, classifier: Classifier, held_out: CalibrationSet, *, classes: int, k: int) -> Self | None:
        """What `classifier` answers; None where nothing was held out. Takes about as long as serving so many images."""
        rows = np.random.default_rng(0).permutation(len(held_out))[:MOST_IMAGES]
        if not len(rows):
            return None
        embeddings = np.ascontiguousarray(held_out.embeddings[rows])
        parts = [_answered(classifier, embeddings[i : i + AT_ONCE], k) for i in range(0, len(rows), AT_ONCE)]
        margins = np.concatenate([part.soft_margin for part in parts])
        labels = np.concatenate([part.labels for part in parts])
        distances = np.concatenate([part.kth_distance for part in parts])
        return cls(
            embeddings,
            np.sort(margins[np.isfinite(margins)]),
            np.sort(distances),
            tuple(_of_class(distances, labels == label) for label in range(classes)),
            np.sort(np.concatenate([part.neighbours.similarities[:, 0] for part in parts])),
            np.sort(np.concatenate([lead_of_vote(part.probabilities) for part in parts])),
            np.bincount(labels, minlength=classes) / len(labels),
        )

    def unusual(self, labels: Ints, distances: Floats) -> Floats:
        """The share of held-out images of the same answer that are nearer to their k-th neighbour: [N], [N] -> float32 [N]."""
        shares = np.empty(len(labels), np.float32)
        for label in np.unique(labels).tolist():
            rows, known = labels == label, self.of_class[label] if label < len(self.of_class) else self.distances
            shares[rows] = np.searchsorted(known, distances[rows]) / len(known)
        return shares


def _of_class(distances: Floats, rows: NDArray[np.bool_]) -> Floats:
    found: Floats = np.sort(distances[rows] if rows.sum() >= LEAST_OF_CLASS else distances)
    return found


def lead_of_vote(probabilities: Floats) -> Floats:
    """Shares of the vote [N, C] -> [N], the largest less the second; the largest where there is one class alone."""
    if probabilities.shape[1] < 2:
        return probabilities[:, 0]
    highest = np.partition(probabilities, -2, axis=1)
    lead: Floats = highest[:, -1] - highest[:, -2]
    return lead


def _answered(classifier: Classifier, embeddings: Floats, k: int) -> Answers:
    return classifier.decide(Retrieval(embeddings, classifier.retriever.search(embeddings, k + SPARE)))
