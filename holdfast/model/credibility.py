"""Conformal credibility of a kNN vote: Papernot and McDaniel, "Deep k-Nearest Neighbors", arXiv 1803.04765.

The nonconformity of label j for image x is the share of the vote that j did not get,

    alpha(x, j) = 1 - share_j(x),

of the very shares that decide the label, weights included; in a vote of equal weights it is the paper's number of neighbours
of other labels, divided by k. With the nonconformity of the true labels of n calibration images, held out of training and
index,

    p_j(x) = (1 + #{calibration >= alpha(x, j)}) / (n + 1),

a valid p-value: a true label gets p <= e with probability at most e, if the image comes from where the calibration images do.
Credibility is the p-value of the label that is answered. Confidence is one minus the largest p-value of the other labels.

The paper's credibility is the largest p-value of all labels, for its answer is the label that has it. Here weights and ties
decide, so the label of the largest p-value could be another one than that answered.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from holdfast.model.answers import Floats, Ints
from holdfast.model.retrieval.base import Retriever, nearest
from holdfast.model.vote import VoteParameters, vote

DECIMALS = 4
"""Of a nonconformity, when the index is calibrated and when it answers: float sums differ in their last digits with the batch
size, and equal votes must be equal. One neighbour of the most that can vote, 4,096, is more than this."""

BLOCK = 1024  # images voted on at once: memory follows it and k, not the number of calibration images

COVERAGE = 0.95
"""The share of calibration images that is answered, unless somebody says otherwise."""


class Calibration(BaseModel):
    """Nonconformity of held-out images, and the credibility below which the server abstains.

    `nonconformity` lies in [0, 1], rounded to DECIMALS, the smallest first. `coverage` is the fraction of the calibration
    images that is answered at the threshold `abstain_below`; `wanted` is the least that was asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    nonconformity: tuple[float, ...] = Field(min_length=1)
    abstain_below: float = Field(ge=0, le=1)
    coverage: float = Field(ge=0, le=1)
    wanted: float = Field(default=COVERAGE, gt=0, le=1)

    @field_validator("nonconformity")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(a > b for a, b in pairwise(values)):
            raise ValueError("nonconformity must be sorted, the smallest first")
        if values[0] < 0 or values[-1] > 1:
            raise ValueError(f"nonconformity lies in [0, 1], not in [{values[0]:g}, {values[-1]:g}]")
        return values


def wanted_coverage(before: Calibration | None) -> float:
    """What share is to be answered where nobody says: what was asked `before`, else COVERAGE."""
    return COVERAGE if before is None else before.wanted


def nonconformity(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - share, rounded to DECIMALS: in [0, 1], of any shape. Shares as in `holdfast.model.vote.Vote`."""
    rounded: NDArray[np.float64] = np.round(1 - shares, DECIMALS)
    return rounded


def calibrate(shares: NDArray[np.float64], answered: Ints, labels: Ints, coverage: float = COVERAGE) -> Calibration:
    """Calibrate on the votes on images that are held out of index and training.

    Args:
        shares: float64 [n, C], shares of each image's vote (`Vote.shares`).
        answered: int64 [n], what the vote answers (`Vote.labels`).
        labels: int64 [n], the true labels.
        coverage: the least fraction of these images to be answered, in (0, 1].

    Raises:
        ValueError: there are no images.

    """
    if len(labels) == 0:
        raise ValueError("calibration needs at least one held-out image")
    reference = np.sort(nonconformity(shares[np.arange(len(labels)), labels]))
    open_threshold = Calibration(nonconformity=tuple(reference.tolist()), abstain_below=0.0, coverage=1.0)
    own, _ = credibility(shares, answered, open_threshold)
    # The largest threshold that still answers the wanted share; ties are answered, so the true coverage may be higher.
    threshold = float(np.quantile(own, 1 - coverage, method="lower"))
    covered = float((own >= threshold).mean())
    return Calibration(nonconformity=open_threshold.nonconformity, abstain_below=threshold, coverage=covered, wanted=coverage)


def calibrate_retriever(
    retriever: Retriever,
    parameters: VoteParameters,
    embeddings: Floats,
    labels: Ints,
    *,
    classes: int,
    coverage: float = COVERAGE,
) -> Calibration:
    """Calibrate an index by what its own neighbours say of held-out images: whatever it does not find is counted.

    Args:
        retriever: the exemplars as they will be searched, their labels in [0, classes).
        parameters: how neighbours vote.
        embeddings: float32 [n, D], L2-normalised, of images held out of index and training.
        labels: int64 [n], their true labels in [0, classes).
        classes: number of classes C.
        coverage: the least fraction of these images to be answered, in (0, 1].

    Raises:
        ValueError: there are no images.
        HoldfastError: the index cannot answer.

    """
    shares, answered = np.zeros((len(labels), classes)), np.zeros(len(labels), np.int64)
    for start in range(0, len(labels), BLOCK):
        rows = slice(start, start + BLOCK)
        found = nearest(retriever, embeddings[rows], parameters.k)
        outcome = vote(found.similarities, found.labels, classes, parameters)
        shares[rows], answered[rows] = outcome.shares, outcome.labels
    return calibrate(shares, answered, labels, coverage)


def p_values(shares: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """The p-value of every label. Shape: shares [N, C] of the vote -> [N, C] in (0, 1]."""
    reference = np.asarray(calibration.nonconformity)
    at_least = len(reference) - np.searchsorted(reference, nonconformity(shares), side="left")
    p: NDArray[np.float64] = (1 + at_least) / (len(reference) + 1)
    return p


def credibility(
    shares: NDArray[np.float64], answered: Ints, calibration: Calibration
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Credibility and confidence of each answer.

    Args:
        shares: float64 [N, C], shares of the vote, as in `calibrate`.
        answered: int64 [N], the labels that are answered.
        calibration: of the same index and vote.

    Returns:
        (credibility [N] in (0, 1], confidence [N] in [0, 1)).

    """
    p, rows = p_values(shares, calibration), np.arange(len(answered))
    own = p[rows, answered]
    p[rows, answered] = 0
    return own, 1 - p.max(axis=1, initial=0)
