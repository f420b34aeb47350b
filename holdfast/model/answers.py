"""What a classifier answers, as arrays. Neither faiss nor onnxruntime is needed to hold them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k nearest exemplars of each query, the nearest first.

    Where fewer were found, the rest of the row has id -1, label -1 and similarity -inf.

    Attributes:
        ids: int64 [N, k], exemplar ids.
        labels: int64 [N, k], their labels.
        similarities: float32 [N, k], cosine similarity.

    """

    ids: Ints
    labels: Ints
    similarities: Floats


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to a batch of N images.

    Attributes:
        embeddings: float32 [N, D], L2-normalised.
        labels: int64 [N]; 0 for an image of which no neighbour was found.
        probabilities: float32 [N, C], shares of the vote; all 0 for an image of which no neighbour was found.
        credibility: float64 [N] in (0, 1], conformal p-value of the label; NaN where the bundle has no calibration.
        confidence: float64 [N], one minus the largest p-value of the other labels; NaN likewise.
        abstain: bool [N], credibility below the bundle's threshold, no neighbour found, or all of them so far that the image is
            probably of none of the classes, where the bundle has a threshold of that.
        soft_margin: float32 [N], nats; how far the soft-kNN is from another answer. Below 0 it prefers another one. NaN
            where the index cannot export its exemplars, as there is no soft-kNN without them.
        kth_distance: float32 [N], cosine distance (1 - similarity) to the k-th neighbour, or to the farthest one found where
            there are fewer; 2, the largest distance that there is, where none was found.
        kth_distance_p_value: float64 [N] in (0, 1], its conformal p-value; NaN where the bundle has no calibration of it. See
            holdfast.model.judgement.distance.
        softmax_response: float32 [N] in [0, 1], the label's probability in the soft vote; NaN where the soft margin is.
        poison_tolerance: int64 [N], how many exemplars could be inserted; -1 where it was not asked for or cannot be told. See
            holdfast.model.judgement.poison.
        feature_shift: float64 [N] in [0, 2], how far the embedding could move; NaN likewise. See
            holdfast.model.judgement.feature_shift.
        neighbours: [N, k].

    """

    embeddings: Floats
    labels: Ints
    probabilities: Floats
    credibility: NDArray[np.float64]
    confidence: NDArray[np.float64]
    abstain: NDArray[np.bool_]
    soft_margin: Floats
    kth_distance: Floats
    kth_distance_p_value: NDArray[np.float64]
    softmax_response: Floats
    poison_tolerance: Ints
    feature_shift: NDArray[np.float64]
    neighbours: Neighbours

    @property
    def neighbour_labels(self) -> Ints:
        """Labels of the neighbours: int64 [N, k]."""
        return self.neighbours.labels
