"""What a classifier answers, as arrays. Neither faiss nor onnxruntime is needed to hold them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest exemplars of each query, the nearest first.

    Attributes:
        similarities: float32 [N, k], cosine similarity.
        ids: int64 [N, k], exemplar ids.

    """

    similarities: Floats
    ids: NDArray[np.int64]


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
