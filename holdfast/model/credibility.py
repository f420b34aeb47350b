"""Conformal credibility of a kNN vote: Papernot and McDaniel, "Deep k-Nearest Neighbors", arXiv 1803.04765.

The nonconformity of label j for image x is the share of the vote that j did not get,

    alpha(x, j) = 1 - share_j(x),

of the very shares that decide the label, weights included; in a vote of equal weights it is the paper's number of neighbours
of other labels, divided by k. With the nonconformity of the true labels of n calibration images, held out of training and
index,

    p_j(x) = (1 + #{calibration >= alpha(x, j)}) / (n + 1),

a valid p-value: a true label gets p <= e with probability at most e, if the image comes from where the calibration images do.
Credibility is the p-value of the label that is answered. Confidence is one minus the largest p-value of the other labels.

The server abstains below a threshold of credibility, such that a new image is answered with a probability of at least the
wanted coverage c, if it comes from where the calibration images do. Credibility falls with the nonconformity of the answer, and
that of n calibration images and a new one are equally likely in any order. So the new one is at least as credible as the m-th
most credible of the n with probability m / (n + 1), or more where some are equal, and m = ceil(c (n + 1)) is enough. Where m is
above n, as with 18 images at 95 %, no threshold but 0 keeps the promise: nothing is known of the strangest image in twenty.

The paper's credibility is the largest p-value of all labels, for its answer is the label that has it. Here weights and ties
decide, so the label of the largest p-value could be another one than that answered.
"""

import math
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.judgement.distance import calibration_distances, is_unknown, kth_distance
from holdfast.model.judgement.open_set import unknown_threshold
from holdfast.model.retrieval.base import Bank, Retriever, nearest
from holdfast.model.vote import VoteParameters, vote

DECIMALS = 4
"""Of a nonconformity, when the index is calibrated and when it answers: float sums differ in their last digits with the batch
size, and equal votes must be equal. One neighbour of the most that can vote, 4,096, is more than this."""

BLOCK = 1024  # images voted on at once: memory follows it and k, not the number of calibration images

COVERAGE = 0.95
"""The share of images that is answered, unless somebody says otherwise."""


class LeaveOneOut(BaseModel):
    """Exemplars that were asked about, each while it was left out, and how many were answered as they are labelled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(ge=1)
    right: int = Field(ge=0)


class Calibration(BaseModel):
    """Nonconformity of held-out images, and the credibility below which the server abstains.

    `nonconformity` lies in [0, 1], rounded to DECIMALS, the smallest first. `coverage` is the fraction of the calibration
    images that is answered at the threshold `abstain_below`, which is 0 where no answer abstains; `wanted` is the least
    probability with which a new image is to be answered. `kth_distances` are cosine distances of the same images to their k-th
    neighbours, the smallest first; bundles of before do not have them. An answer whose distance is above `unknown_above`
    abstains, as it is probably of none of the classes (`holdfast.model.judgement.open_set`); None where every image is of a
    class. `left_out` says that the images are exemplars, each asked about while it was left out of the index: so many, and how
    many of them were answered as they are labelled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    nonconformity: tuple[float, ...] = Field(min_length=1)
    abstain_below: float = Field(ge=0, le=1)
    coverage: float = Field(ge=0, le=1)
    wanted: float = Field(default=COVERAGE, gt=0, le=1)
    kth_distances: tuple[float, ...] = ()
    unknown_above: float | None = Field(default=None, ge=0, le=2)
    left_out: LeaveOneOut | None = None

    @cached_property
    def reference(self) -> NDArray[np.float64]:
        """The nonconformity: float64 [n]."""
        return np.asarray(self.nonconformity)

    @cached_property
    def distances(self) -> NDArray[np.float64]:
        """The distances: float64 [n], or none."""
        return np.asarray(self.kth_distances, dtype=np.float64)

    @field_validator("nonconformity")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(a > b for a, b in pairwise(values)):
            raise ValueError("nonconformity must be sorted, the smallest first")
        if values[0] < 0 or values[-1] > 1:
            raise ValueError(f"nonconformity lies in [0, 1], not in [{values[0]:g}, {values[-1]:g}]")
        return values

    @field_validator("kth_distances")
    @classmethod
    def _distances(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(a > b for a, b in pairwise(values)):
            raise ValueError("distances must be sorted, the smallest first")
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
        coverage: the least probability with which a new image is answered, in (0, 1]. At 1 nothing abstains, and nothing does
            where the images are too few to say which answers are strange: fewer than coverage / (1 - coverage).

    Raises:
        ValueError: there are no images.

    """
    if len(labels) == 0:
        raise ValueError("calibration needs at least one held-out image")
    reference = np.sort(nonconformity(shares[np.arange(len(labels)), labels]))
    open_threshold = Calibration(nonconformity=tuple(reference.tolist()), abstain_below=0.0, coverage=1.0)
    own, _ = credibility(shares, answered, open_threshold)
    kept = images_kept(len(own), coverage)
    threshold = 0.0 if kept is None else float(np.sort(own)[len(own) - kept])
    covered = float((own >= threshold).mean())
    return Calibration(nonconformity=open_threshold.nonconformity, abstain_below=threshold, coverage=covered, wanted=coverage)


def images_kept(images: int, coverage: float) -> int | None:
    """How many of the calibration images, the most credible, a threshold must answer for a new image to be answered so often.

    It is ceil(coverage (images + 1)), and None where that is more than there are.
    """
    kept = max(math.ceil(round(coverage * (images + 1), 6)), 1)  # .95 x 20 is 19, whatever its last digit
    return kept if kept <= images else None


def calibrate_retriever(
    retriever: Retriever,
    parameters: VoteParameters,
    embeddings: Floats,
    labels: Ints,
    *,
    classes: int,
    coverage: float = COVERAGE,
    open_set: bool = False,
) -> Calibration:
    """Calibrate an index by what its own neighbours say of held-out images: whatever it does not find is counted.

    Args:
        retriever: the exemplars as they will be searched, their labels in [0, classes).
        parameters: how neighbours vote.
        embeddings: float32 [n, D], L2-normalised, of images held out of index and training.
        labels: int64 [n], their true labels in [0, classes).
        classes: number of classes C.
        coverage: the least probability with which a new image is answered, in (0, 1], as in `calibrate`.
        open_set: whether answers are to abstain that are probably of none of the classes.

    Raises:
        ValueError: there are no images.
        HoldfastError: the index cannot answer.

    """
    shares, answered, distances = _votes(retriever, parameters, embeddings, classes)
    calibration = calibrate(shares, answered, labels, coverage)
    changes: dict[str, object] = {"kth_distances": calibration_distances(distances)}
    if open_set and (point := unknown_threshold(retriever, embeddings, labels, parameters.k)) is not None:
        own, _ = credibility(shares, answered, calibration)
        kept = (own >= calibration.abstain_below) & ~is_unknown(distances, point.threshold)
        changes |= {"unknown_above": point.threshold, "coverage": float(kept.mean())}
    return calibration.model_copy(update=changes)


def calibrate_left_out(
    retriever: Retriever, parameters: VoteParameters, bank: Bank, *, classes: int, coverage: float = COVERAGE
) -> Calibration:
    """Calibrate an index by its own exemplars, each asked about while it is left out: where nothing can be held out.

    An exemplar that is left out has one neighbour of its class fewer than a new image has, so its nonconformity is rather
    larger. That makes p-values of new images rather larger, and abstentions rarer. These are the p-values of the jackknife,
    which promises nothing for sets so small that one image more or less changes many votes (Barber et al. 2021, arXiv
    1905.02928). They mean nothing for exemplars that the encoder was trained on.

    Args:
        retriever: the exemplars as they will be searched.
        parameters: how neighbours vote.
        bank: the exemplars that are asked about, of those in `retriever`, at least one.
        classes: number of classes C.
        coverage: as in `calibrate`.

    Raises:
        ValueError: there are no exemplars.
        HoldfastError: the index cannot answer.

    """
    shares, answered, distances = _votes(retriever, parameters, bank.embeddings, classes, bank.ids)
    calibration = calibrate(shares, answered, bank.labels, coverage)
    counted = LeaveOneOut(images=len(bank.labels), right=int((answered == bank.labels).sum()))
    return calibration.model_copy(update={"kth_distances": calibration_distances(distances), "left_out": counted})


def _votes(
    retriever: Retriever, parameters: VoteParameters, embeddings: Floats, classes: int, own: Ints | None = None
) -> tuple[NDArray[np.float64], Ints, Floats]:
    """Shares, answers and k-th distances of images; where `own` gives the id of each, without that exemplar."""
    shares, answered = np.zeros((len(embeddings), classes)), np.zeros(len(embeddings), np.int64)
    distances = np.zeros(len(embeddings), np.float32)
    for start in range(0, len(embeddings), BLOCK):
        rows = slice(start, start + BLOCK)
        if own is None:
            found = nearest(retriever, embeddings[rows], parameters.k)
        else:
            found = _without(nearest(retriever, embeddings[rows], parameters.k + 1), own[rows])
        outcome = vote(found.similarities, found.labels, classes, parameters)
        shares[rows], answered[rows], distances[rows] = outcome.shares, outcome.labels, kth_distance(found)
    return shares, answered, distances


def _without(found: Neighbours, own: Ints) -> Neighbours:
    """One neighbour fewer of each image: its own exemplar, or the last where that is not among them."""
    itself = found.ids == own[:, np.newaxis]
    itself[:, -1] |= ~itself.any(axis=1)
    kept = [values[~itself].reshape(len(own), -1) for values in (found.ids, found.labels, found.similarities)]
    return Neighbours(ids=kept[0], labels=kept[1], similarities=kept[2])


def p_values(shares: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """The p-value of every label. Shape: shares [N, C] of the vote -> [N, C] in (0, 1]."""
    reference = calibration.reference
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
