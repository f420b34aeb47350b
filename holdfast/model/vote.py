"""The vote of the nearest exemplars, with ties that break the same way at every batch size."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

# Two sums of similarities closer than this are a tie: float32 sums differ in their last digits with the order of adding.
TIE = 1e-5


class VoteParameters(BaseModel):
    """How neighbours vote.

    `uniform` counts each of the k neighbours once (the paper); `exponential` weighs each by exp(similarity / temperature).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(ge=1, le=4096)
    weighting: Literal["uniform", "exponential"] = "uniform"
    temperature: float = Field(default=0.1, gt=0)


@dataclass(frozen=True, slots=True)
class Vote:
    """The outcome for a batch.

    Attributes:
        labels: int64 [N], the winners.
        probabilities: float32 [N, C], each class's share of the weight; rows sum to 1.
        counts: int64 [N, C], neighbours of each class; rows sum to k.

    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    counts: NDArray[np.int64]


def vote(similarities: NDArray[np.float32], labels: NDArray[np.int64], classes: int, parameters: VoteParameters) -> Vote:
    """Let the neighbours vote.

    The most weight wins; a tie goes to the larger summed similarity, then to the smaller label.

    Args:
        similarities: [N, k], cosine similarities of each image's neighbours.
        labels: [N, k], their labels in [0, classes).
        classes: number of classes C.
        parameters: weighting and temperature.

    """
    n = len(labels)
    one_hot = (np.arange(n)[:, np.newaxis] * classes + labels).ravel()

    def per_class(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(one_hot, weights=values.ravel(), minlength=n * classes).reshape(n, classes).astype(np.float64)

    exact = similarities.astype(np.float64)
    counts = np.bincount(one_hot, minlength=n * classes).reshape(n, classes)
    if parameters.weighting == "uniform":
        weights = counts.astype(np.float64)
    else:
        # Relative to the nearest: the shares are the same, and exp cannot overflow at small temperatures.
        weights = per_class(np.exp((exact - exact.max(axis=1, keepdims=True)) / parameters.temperature))
    probabilities = weights / weights.sum(axis=1, keepdims=True)

    leading = probabilities >= probabilities.max(axis=1, keepdims=True) - TIE
    summed = np.where(leading, per_class(exact), -np.inf)
    finalists = summed >= summed.max(axis=1, keepdims=True) - TIE
    winners = finalists.argmax(axis=1)  # argmax takes the first: the smaller label
    return Vote(winners.astype(np.int64), probabilities.astype(np.float32), counts.astype(np.int64))
