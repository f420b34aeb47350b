"""The detectors that a served bundle has: credibility, and all else that is said of an answer."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from holdfast.attacks.detectors.classifier import DOUBT, RESPONSE, detectors_by_head
from holdfast.attacks.detectors.detector import Detector, Penalty, SoftNeighbours, Suspicion
from holdfast.bundle.reader import Bundle
from holdfast.model.answers import Answers
from holdfast.model.classifier import Classifier
from holdfast.model.retrieval.base import bank_of
from holdfast.model.surrogate import Surrogate

CREDIBILITY = "credibility"
NAMES = (
    CREDIBILITY,
    "marked neighbours",
    "soft margin",
    "softmax response",
    "poison tolerance",
    "feature shift",
    "k-th distance",
    RESPONSE,
    DOUBT,
)
"""All that there can be, in order."""


def detectors_of(
    bundle: Bundle,
    clean: Answers,
    labels: NDArray[np.int64],
    *,
    false_positives: float = 0.05,
    device: torch.device | str = "cpu",
    classifier: Classifier | None = None,
) -> tuple[Detector, ...]:
    """The detectors that a served bundle has, of `NAMES` and in that order.

    - credibility, where it has a calibration: at the threshold below which the server abstains.
    - marked neighbours, where it has marked exemplars: their share among the k nearest.
    - soft margin: the server's own soft kNN is near another answer than the vote's.
    - softmax response, poison tolerance, feature shift, where `clean` has them: the less, the more suspicious.
    - k-th distance: far from everything.
    - classifier response, where the bundle has the classifier of its training: the less it gives the answer.
    - abstain logit, where that one has it: the more.

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
    free = []
    if bool(marked.any()):
        free.append(_marked_neighbours(bundle, near, marked))
    if (surrogate := (classifier or bundle.classifier()).surrogate) is not None:
        free.append(_soft_margin(surrogate))
    free += [*_judgements(clean, _less_share(bundle, near, exported.labels)), _kth_distance(near)]
    if bundle.head is not None:
        free += detectors_by_head(bundle.head, device)
    detectors = [detector.at(false_positives, clean, labels) for detector in free]
    credible = credibility_of(bundle, device)
    return tuple(detectors) if credible is None else (credible, *detectors)


def credibility_of(bundle: Bundle, device: torch.device | str = "cpu") -> Detector | None:
    """Credibility as a detector, at the threshold below which the server abstains; None where there is no calibration."""
    calibration = bundle.manifest.calibration
    if calibration is None:
        return None
    exported = bank_of(bundle.index)
    near = SoftNeighbours(torch.from_numpy(exported.embeddings).to(device), bundle.manifest.vote.k)
    penalty = _less_share(bundle, near, exported.labels)
    return Detector(CREDIBILITY, -calibration.abstain_below, lambda answers: -answers.credibility, penalty, by_share=True)


def _less_share(bundle: Bundle, near: SoftNeighbours, labels: NDArray[np.int64]) -> Penalty:
    """Less the share of the vote of the answer that is wanted; `labels` int64 [M] are those of the exemplars."""
    vote, classes, device = bundle.manifest.vote, len(bundle.class_names), near.bank.device
    members = F.one_hot(torch.from_numpy(labels).to(device), classes).float()
    if (weights := vote.weights_of(classes)) is not None:
        members = members * torch.from_numpy(weights).to(members)
    temperature = None if vote.weighting == "uniform" else vote.temperature

    def penalty(z: Tensor, wanted: Tensor) -> Tensor:
        weighed = near.shares(z, members, temperature)
        return -weighed.gather(1, wanted[:, None])[:, 0] / weighed.sum(1)

    return penalty


def _judgements(clean: Answers, penalty: Penalty) -> list[Detector]:
    """Those that are known of all answers; all of them grow with the answer's share of the vote."""
    detectors = []
    if not np.isnan(clean.softmax_response).any():
        detectors.append(
            Detector("softmax response", np.inf, lambda a: -a.softmax_response.astype(np.float64), penalty, by_share=True)
        )
    if (clean.poison_tolerance >= 0).all():
        detectors.append(
            Detector("poison tolerance", np.inf, lambda a: -a.poison_tolerance.astype(np.float64), penalty, by_share=True)
        )
    if not np.isnan(clean.feature_shift).any():
        detectors.append(Detector("feature shift", np.inf, lambda a: -a.feature_shift, penalty, by_share=True))
    return detectors


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
