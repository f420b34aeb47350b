"""The answer as served: embed, search, vote, judge. The server, the evaluation and the benchmarks all call this."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.bundle import Bundle
from bundle.credibility import credibility
from bundle.index import Neighbours
from bundle.preprocess import Pixels
from bundle.surrogate import SoftKNN
from bundle.vote import vote

Floats = NDArray[np.float32]

# Above this many exemplars the soft margin is computed on prototypes: a whole bank of 50,000 would cost each answer as much
# as a small encoder does.
SURROGATE_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to a batch of N images.

    Attributes:
        embeddings: float32 [N, D], L2-normalised.
        labels: int64 [N].
        probabilities: float32 [N, C], shares of the vote.
        credibility: float64 [N] in (0, 1], conformal p-value of the vote; NaN where the bundle has no calibration.
        confidence: float64 [N], one minus the second largest p-value; NaN likewise.
        abstain: bool [N], credibility below the bundle's threshold.
        soft_margin: float32 [N], nats; how far the soft-kNN is from another answer. Below 0 it prefers another one.
        kth_distance: float32 [N], cosine distance (1 - similarity) to the k-th neighbour.
        neighbours: ids and similarities [N, k].
        neighbour_labels: int64 [N, k].

    """

    embeddings: Floats
    labels: NDArray[np.int64]
    probabilities: Floats
    credibility: NDArray[np.float64]
    confidence: NDArray[np.float64]
    abstain: NDArray[np.bool_]
    soft_margin: Floats
    kth_distance: Floats
    neighbours: Neighbours
    neighbour_labels: NDArray[np.int64]


class Classifier:
    """Classifies batches by the vote of the nearest exemplars.

    Nothing changes after construction, so threads may share one: ONNX Runtime's sessions and faiss's flat search take
    concurrent calls.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._encoder, self._index, self._exemplars = bundle.encoder, bundle.index, bundle.exemplars
        self._classes = len(bundle.class_names)
        embeddings, ids = self._index.vectors()
        # Ids that are 0..M-1 in order, as the index builder writes them, are their own row numbers.
        self._ids_are_rows = np.array_equal(ids, np.arange(len(ids)))
        self.surrogate = SoftKNN.compressed(
            embeddings,
            self._exemplars.labels,
            self._classes,
            bundle.manifest.surrogate_tau,
            prototypes=SURROGATE_ROWS,
        )

    def classify(self, images: Pixels) -> Answers:
        """Classify uint8 [N, H, W, C] images that follow the bundle's input contract."""
        return self.judge(self._encoder.embed(images))

    def judge(self, embeddings: Floats) -> Answers:
        """Classify float32 [N, D] embeddings."""
        manifest = self.bundle.manifest
        neighbours = self._index.search(embeddings, manifest.vote.k)
        labels = self._labels_of(neighbours.ids)
        outcome = vote(neighbours.similarities, labels, self._classes, manifest.vote)
        if manifest.calibration is None:
            credible, confident = np.full((2, len(embeddings)), np.nan)
            abstain = np.zeros(len(embeddings), dtype=bool)
        else:
            credible, confident = credibility(outcome.counts, manifest.calibration)
            abstain = credible < manifest.calibration.abstain_below
        return Answers(
            embeddings=embeddings,
            labels=outcome.labels,
            probabilities=outcome.probabilities,
            credibility=credible,
            confidence=confident,
            abstain=abstain,
            soft_margin=self.surrogate.margin(embeddings, outcome.labels),
            kth_distance=1 - neighbours.similarities[:, -1],
            neighbours=neighbours,
            neighbour_labels=labels,
        )

    def _labels_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._exemplars.labels[ids] if self._ids_are_rows else self._exemplars.labels_of(ids)
