"""Detectors: what a server may see of an answer, and the differentiable penalty that stands in for it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import floor
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from holdfast.bundle.reader import Bundle
from holdfast.model.answers import Answers
from holdfast.model.classifier import Classifier
from holdfast.model.credibility import Calibration
from holdfast.model.retrieval.base import bank_of
from holdfast.model.surrogate import Surrogate
from holdfast.model.vote import VoteParameters

Suspicion = NDArray[np.float64]

CREDIBILITY = "credibility"
"""The detector's name."""

Penalty = Callable[[Tensor, Tensor], Tensor]
"""(embeddings float [N, D], the wrong answers wanted int64 [N]) -> float [N]: what an attacker minimises, differentiable."""


@dataclass(frozen=True, eq=False)
class Detector:
    """Something that may tell an attacked image from a clean one.

    Attributes:
        name: for reports.
        threshold: it goes off where the score is above this.
        score: what the server computes of its answers: float64 [N], the larger the more suspicious.
        penalty: its differentiable stand-in.

    """

    name: str
    threshold: float
    score: Callable[[Answers], Suspicion] = field(repr=False)
    penalty: Penalty = field(repr=False)

    def flagged(self, answers: Answers) -> NDArray[np.bool_]:
        """Where it goes off. Shape: bool [N]."""
        flagged: NDArray[np.bool_] = self.score(answers) > self.threshold
        return flagged

    def at(self, false_positives: float, clean: Answers, labels: NDArray[np.int64]) -> Self:
        """The same detector at the threshold of a false-positive rate; see `threshold_at`.

        Args:
            false_positives: the rate, in [0, 1).
            clean: answers to clean images, none of which is attacked later.
            labels: int64 [N], their true classes; only those answered rightly count.

        """
        return replace(self, threshold=threshold_at(false_positives, self.score(clean)[clean.labels == labels]))


def threshold_at(rate: float, scores: Suspicion) -> float:
    """The lowest of `scores` [n] that at most `rate` of them exceed.

    Raises:
        ValueError: there are no scores, or the rate is not in [0, 1).

    """
    if not 0 <= rate < 1 or len(scores) == 0:
        raise ValueError(f"a threshold wants a rate in [0, 1) and at least one score, not {rate} and {len(scores)}")
    # Times n, a rate such as .29 of 100 comes out as 28.999...
    return float(np.sort(scores)[len(scores) - 1 - floor(rate * len(scores) + 1e-9)])


def detectors_of(
    bundle: Bundle,
    clean: Answers,
    labels: NDArray[np.int64],
    *,
    false_positives: float = 0.05,
    device: torch.device | str = "cpu",
    classifier: Classifier | None = None,
) -> tuple[Detector, ...]:
    """The detectors that a served bundle has.

    - "credibility", where it has a calibration: at the threshold below which the server abstains.
    - "marked neighbours", where it has marked exemplars: their share among the k nearest.
    - "soft margin": the server's own soft kNN is near another answer than the vote's.
    - "k-th distance": far from everything.

    Args:
        bundle: a complete one.
        clean: answers to clean images, none of which is attacked later; they set all thresholds but credibility's.
        labels: int64 [N], their true classes; only those answered rightly count.
        false_positives: the rate at which the thresholds are set.
        device: where the attack will run.
        classifier: over this bundle, where there is one already: a new one takes seconds on a large bank.

    """
    exported = bank_of(bundle.index)
    marked = torch.from_numpy(bundle.exemplars.flags[bundle.exemplars.rows_of(exported.ids)] > 0).to(device)
    near = SoftNeighbours(torch.from_numpy(exported.embeddings).to(device), bundle.manifest.vote.k)
    free = [_kth_distance(near)]
    if (surrogate := (classifier or bundle.classifier()).surrogate) is not None:
        free.insert(0, _soft_margin(surrogate))
    if bool(marked.any()):
        free.insert(0, _marked_neighbours(bundle, near, marked))
    detectors = [detector.at(false_positives, clean, labels) for detector in free]
    credible = credibility_of(bundle, device)
    return tuple(detectors) if credible is None else (credible, *detectors)


def credibility_of(bundle: Bundle, device: torch.device | str = "cpu") -> Detector | None:
    """Credibility as a detector, at the threshold below which the server abstains; None where there is no calibration."""
    manifest, classes = bundle.manifest, len(bundle.class_names)
    if manifest.calibration is None:
        return None
    exported = bank_of(bundle.index)
    near = SoftNeighbours(torch.from_numpy(exported.embeddings).to(device), manifest.vote.k)
    return _credibility(near, torch.from_numpy(exported.labels).to(device), classes, manifest.calibration, manifest.vote)


class SoftNeighbours:
    """The k nearest exemplars, with a soft edge: exemplar i counts sigmoid((<z, b_i> - s_k) / tau), s_k the k-th similarity.

    All of the bank counts a little, so that groups absent among the k have a gradient too. s_k counts as a constant.
    """

    def __init__(self, bank: Tensor, k: int, tau: float = 0.02) -> None:
        """Keep float [M, D] embeddings; `tau` is the width of the edge."""
        self.bank, self.k, self.tau = bank, k, tau

    def shares(self, z: Tensor, members: Tensor, temperature: float | None = None) -> Tensor:
        """What part of the neighbours is in each group, as `vote` weighs them.

        Args:
            z: [N, D].
            members: 0 or 1 [M, G].
            temperature: of an exponential weighting; None counts all neighbours alike.

        Returns:
            [N, G] in [0, 1].

        """
        similarities = z.float() @ self.bank.T
        highest = similarities.detach().topk(self.k, dim=1).values
        weights = ((similarities - highest[:, -1:]) / self.tau).sigmoid()
        if temperature is not None:
            weights = weights * ((similarities - highest[:, :1]) / temperature).exp()
        return (weights @ members) / weights.sum(1, keepdim=True)

    def kth_distance(self, z: Tensor) -> Tensor:
        """1 - s_k, whose gradient leads to that neighbour. Shape: [N, D] -> [N]."""
        return 1 - (z.float() @ self.bank.T).topk(self.k, dim=1).values[:, -1]


def _credibility(
    near: SoftNeighbours, labels: Tensor, classes: int, calibration: Calibration, vote: VoteParameters
) -> Detector:
    """Credibility grows with the answer's share of the vote: the larger that of the wanted class, the better."""
    members = F.one_hot(labels, classes).float()
    if (weights := vote.weights_of(classes)) is not None:
        members = members * torch.from_numpy(weights).to(members)
    temperature = None if vote.weighting == "uniform" else vote.temperature

    def penalty(z: Tensor, wanted: Tensor) -> Tensor:
        weighed = near.shares(z, members, temperature)
        return -weighed.gather(1, wanted[:, None])[:, 0] / weighed.sum(1)

    return Detector(CREDIBILITY, -calibration.abstain_below, lambda answers: -answers.credibility, penalty)


def _marked_neighbours(bundle: Bundle, near: SoftNeighbours, marked: Tensor) -> Detector:
    members = marked.float()[:, None]

    def score(answers: Answers) -> Suspicion:
        found = answers.neighbours.ids >= 0
        flagged = np.zeros(found.shape, dtype=np.bool_)
        flagged[found] = bundle.exemplars.flags[bundle.exemplars.rows_of(answers.neighbours.ids[found])] > 0
        share: Suspicion = flagged.sum(axis=1) / np.maximum(found.sum(axis=1), 1)
        return share

    return Detector("marked neighbours", 1.0, score, lambda z, _: near.shares(z, members)[:, 0])


class _ServedMargin(torch.autograd.Function):
    """The soft margin as the server computes it: on a large bank it sees prototypes, not exemplars."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, labels: Tensor, surrogate: Surrogate) -> Tensor:
        embeddings = z.detach().float().cpu().numpy()
        margin, gradient = surrogate.margin_gradient(embeddings, labels.cpu().numpy())
        ctx.gradient = torch.from_numpy(gradient).to(z)
        return torch.from_numpy(margin).to(z)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None, None]:
        return cotangents[0][:, None] * ctx.gradient, None, None


def _soft_margin(surrogate: Surrogate) -> Detector:
    def penalty(z: Tensor, wanted: Tensor) -> Tensor:
        margin: Tensor = _ServedMargin.apply(z, wanted, surrogate)  # type: ignore[no-untyped-call]
        return -margin

    return Detector("soft margin", np.inf, lambda answers: -answers.soft_margin.astype(np.float64), penalty)


def _kth_distance(near: SoftNeighbours) -> Detector:
    return Detector(
        "k-th distance",
        np.inf,
        lambda answers: answers.kth_distance.astype(np.float64),
        lambda z, _: near.kth_distance(z),
    )
