"""The vote of the nearest exemplars, with ties that break the same way at every batch size."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

# Two sums of similarities closer than this are a tie: float32 sums differ in their last digits with the order of adding.
TIE = 1e-5

MOST_NEIGHBOURS = 4096

NONE = -2.0
"""In the place of a similarity that there is none of: below every one that there can be."""


class VoteParameters(BaseModel):
    """How neighbours vote.

    `uniform` counts each of the k neighbours once (the paper); `exponential` weighs each by exp(similarity / temperature).
    Where there are `class_weights`, each neighbour's weight is multiplied by that of its class. `corrected` sets them, so
    that classes of few exemplars are not outvoted by their number alone: 1 / frequency ** prior_correction, the largest
    weight 1. A class beyond them, which came later, weighs 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    k: int = Field(ge=1, le=MOST_NEIGHBOURS)
    weighting: Literal["uniform", "exponential"] = "uniform"
    temperature: float = Field(default=0.1, gt=0)
    prior_correction: float = Field(default=0, ge=0, le=1)
    class_weights: tuple[float, ...] = ()

    @field_validator("class_weights")
    @classmethod
    def _positive(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < value <= 1 for value in values):
            raise ValueError("class weights lie in (0, 1]")
        return values

    def corrected(self, counts: NDArray[np.int64], prior_correction: float | None = None) -> "VoteParameters":
        """The same vote, corrected for the frequencies of these exemplars.

        Args:
            counts: int64 [C], exemplars of each class.
            prior_correction: gamma in [0, 1]: 0 corrects nothing, 1 lets every class as a whole weigh alike; by default as
                it was.

        """
        gamma = self.prior_correction if prior_correction is None else prior_correction
        inverse = np.maximum(counts, 1) ** -float(gamma)
        weights = tuple((inverse / inverse.max()).tolist()) if gamma else ()
        return VoteParameters.model_validate(self.model_dump() | {"prior_correction": gamma, "class_weights": weights})

    def weights_of(self, classes: int) -> NDArray[np.float64] | None:
        """The weight of each class: float64 [classes] in (0, 1]; None where all weigh alike."""
        if not self.class_weights:
            return None
        return np.array([*self.class_weights, *[1.0] * classes])[:classes]


@dataclass(frozen=True, slots=True)
class Vote:
    """The outcome for a batch.

    Attributes:
        labels: int64 [N], the winners; 0 where no neighbour was found.
        probabilities: float32 [N, C], each class's share of the weight; rows sum to 1, or are 0 where no neighbour was found.
        counts: int64 [N, C], neighbours of each class; rows sum to the neighbours that were found, k of an exact index.
        shares: float64 [N, C], each class's share of the weight of all k neighbours that were asked for, those that were not
            found included, which vote for no class: what credibility is computed of. Each of them weighs as much as the
            lightest that was found. Rows sum to 1 of an exact index, to less where fewer were found.

    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    counts: NDArray[np.int64]
    shares: NDArray[np.float64]


def vote(similarities: NDArray[np.float32], labels: NDArray[np.int64], classes: int, parameters: VoteParameters) -> Vote:
    """Let the neighbours vote.

    The most weight wins; a tie goes to the larger summed similarity, times the class's weight where there is one, then to the
    smaller label.

    Args:
        similarities: [N, k], cosine similarities of each image's neighbours.
        labels: [N, k], their labels in [0, classes), or -1 at the end of a row of which fewer were found: no vote.
        classes: number of classes C.
        parameters: weighting and temperature.

    """
    exact, bins, columns = similarities.astype(np.float64), labels, classes
    missing = labels < 0
    some_missing = bool(missing[:, -1:].any())
    if some_missing:  # votes of neighbours that were not found go to a column that is cut off
        columns = classes + 1
        exact, bins = np.where(missing, NONE, exact), np.where(missing, classes, labels)
    n = len(labels)
    one_hot = (np.arange(n)[:, np.newaxis] * columns + bins).ravel()

    def per_class(values: NDArray[np.float64] | None) -> NDArray[np.float64]:
        sums = np.bincount(one_hot, weights=None if values is None else values.ravel(), minlength=n * columns)
        return sums.reshape(n, columns)[:, :classes].astype(np.float64)

    counts = per_class(None)
    each, weights = np.ones((n, 1)), counts
    if parameters.weighting == "exponential":
        # Relative to the nearest: the shares are the same, and exp cannot overflow at small temperatures.
        each = np.exp((exact - exact.max(axis=1, keepdims=True)) / parameters.temperature)
        weights = per_class(each)
    summed = per_class(exact)
    if (of_class := parameters.weights_of(classes)) is not None:
        each, weights, summed = each * of_class[labels], weights * of_class, summed * of_class
    total = weights.sum(axis=1, keepdims=True)
    probabilities = weights / np.where(total > 0, total, 1)
    shares = probabilities * _found(each, missing, total) if some_missing else probabilities

    leading = probabilities >= probabilities.max(axis=1, keepdims=True) - TIE
    summed = np.where(leading, summed, -np.inf)
    finalists = summed >= summed.max(axis=1, keepdims=True) - TIE
    winners = finalists.argmax(axis=1)  # argmax takes the first: the smaller label
    return Vote(winners.astype(np.int64), probabilities.astype(np.float32), counts.astype(np.int64), shares)


def _found(each: NDArray[np.float64], missing: NDArray[np.bool_], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """What part of the weight asked for the neighbours have that were found: [N, 1] in [0, 1].

    Args:
        each: [N, k] or [N, 1], weights; any where the neighbour is missing, and those taken to weigh as the lightest that
            is not.
        missing: [N, k].
        total: [N, 1], the weight of those found.

    """
    lightest = np.where(missing, np.inf, each).min(axis=1, keepdims=True)
    lacking = np.where(total > 0, lightest, 1) * missing.sum(axis=1, keepdims=True)
    found: NDArray[np.float64] = total / (total + lacking)
    return found
