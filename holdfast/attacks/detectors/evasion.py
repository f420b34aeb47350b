"""The attack on detectors: fool the vote and keep the detector silent, in one loss."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.detectors.detector import Detector
from holdfast.attacks.losses import AttackLoss, Loss
from holdfast.attacks.search.journal import Tried
from holdfast.attacks.search.suite import AfterBatch, AttackSuite
from holdfast.attacks.search.worst_case import NAME, AttackOutcome, WorstCase
from holdfast.attacks.victim import ABSTAINED, AnswerFunction, Victim
from holdfast.bundle.threat_model import ThreatModel
from holdfast.console import Progress
from holdfast.intervals import Rate
from holdfast.model.answers import Answers
from holdfast.model.preprocess import Pixels

Classify = Callable[[Pixels], Answers]
"""Images uint8 [N, H, W, 3] -> all that the server sees of them; `Classifier.classify` is one."""

WEIGHTS = (0.0, 1.0, 3.0, 10.0, 30.0)
"""Of a detector in the loss. The margin is in nats and moves by several; most penalties lie within [-1, 1]. At 0 the attack
only goes on where one that ignores the detector stops: at the first wrong answer."""

TAUS = (0.05, 0.2)
CLASSIFIED_AT_ONCE = 256


@dataclass(frozen=True)
class DetectorAware:
    """A loss that fools the vote without setting a detector off: the margin, less `weight` times the detector's penalty.

    Attributes:
        detector: that is to stay silent.
        tau: temperature of the margin, on the whole-bank soft kNN.
        weight: of the penalty; none knows which is the best, so several are tried.

    """

    detector: Detector
    tau: float
    weight: float

    def __str__(self) -> str:
        return f"margin tau {self.tau:g} less {self.weight:g} {self.detector.name}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """Max over c != y of L_c, less L_y, less weight x penalty(z, that c)."""
        surrogate = victim.surrogate.at(self.tau)

        def loss(attacked: Tensor) -> Tensor:
            z = victim.embed(attacked)
            scores = surrogate.log_scores(z)
            strongest, wanted = scores.scatter(1, labels[:, None], -torch.inf).max(1)
            return strongest - scores.gather(1, labels[:, None])[:, 0] - self.weight * self.detector.penalty(z, wanted)

        return loss


def guarded(classify: Classify, detector: Detector) -> AnswerFunction:
    """The answers, `ABSTAINED` where `detector` goes off: an attack that sets it off has not fooled anybody."""

    def answer(images: Pixels) -> NDArray[np.int64]:
        starts = range(0, len(images), CLASSIFIED_AT_ONCE)
        parts = [classify(images[i : i + CLASSIFIED_AT_ONCE]) for i in starts]
        labels = [np.where(detector.flagged(part), ABSTAINED, part.labels) for part in parts]
        return np.concatenate([np.zeros(0, np.int64), *labels])

    return answer


@dataclass(frozen=True, eq=False)
class AttackedSet:
    """N images, and what an attack that ignores every detector made of them.

    Attributes:
        images: uint8 [N, H, W, 3].
        labels: int64 [N], their true classes.
        threat: the ball.
        outcome: what that attack came to within this ball.

    """

    images: Pixels
    labels: NDArray[np.int64]
    threat: ThreatModel
    outcome: AttackOutcome


@dataclass(frozen=True)
class EvasionAttack:
    """PGD on losses that know of a detector.

    Attributes:
        weights: of the detector in the loss, each at every one of `taus`.
        taus: temperatures of the margin.
        also: losses to be tried before those: `SitawarinWagner(k, 2 * k)` wants all k neighbours of one wrong class, and so
            is an attack on credibility by itself.
        steps: gradients per loss.
        batch_size: images attacked at once.

    """

    weights: tuple[float, ...] = WEIGHTS
    taus: tuple[float, ...] = TAUS
    also: tuple[AttackLoss, ...] = ()
    steps: int = 40
    batch_size: int = 128

    def suite(self, detector: Detector) -> AttackSuite:
        """What is run against `detector`."""
        aware = (DetectorAware(detector, tau, weight) for weight in self.weights for tau in self.taus)
        return AttackSuite(tuple(PGDAttack(loss, self.steps) for loss in (*self.also, *aware)), self.batch_size)


@dataclass(frozen=True)
class Evasion:
    """How a detector fares.

    Attributes:
        name: of the detector.
        threat: the ball, as text.
        false_positives: clean images, answered rightly, on which it goes off.
        detected: of the images that an attack ignoring the detector made fool the vote, those on which it goes off.
        evaded_plain: images answered wrongly and not flagged by that attack alone. As in `evaded`, the trials are the
            images answered rightly and not flagged when clean.
        evaded: the same, when attacked with the detector in the loss as well: per image the worst of all losses.
        tried: what each loss added.

    """

    name: str
    threat: str
    false_positives: Rate
    detected: Rate
    evaded_plain: Rate
    evaded: Rate
    tried: tuple[Tried, ...]


def evasion(
    detector: Detector,
    victim: Victim,
    classify: Classify,
    plain: AttackedSet,
    attack: EvasionAttack | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    store: Path | None = None,
    watch: AfterBatch | None = None,
) -> Evasion:
    """Attack a vote and its detector at once.

    Args:
        detector: at the threshold to be measured.
        victim: what is attacked; its own answers are not asked for.
        classify: what its server sees.
        plain: the images, the ball, and what an attack that ignores the detector made of them.
        attack: `EvasionAttack()` by default.
        seed: of the random starts.
        progress: where to show a bar.
        store: see `AttackSuite.run`.
        watch: see `AttackSuite.run`.

    Raises:
        ValueError: `plain` is of a larger ball.

    """
    images, outcome = plain.images, plain.outcome
    worst_case = WorstCase(replace(victim, answer=guarded(classify, detector)), images, plain.labels, plain.threat)
    attacked = worst_case.survivors
    worst_case.inherit(np.array(outcome.found_by, dtype=NAME), outcome.adversarial)
    by_plain = attacked - worst_case.survivors
    suite = (attack or EvasionAttack()).suite(detector)
    tried = suite.run(worst_case, seed=seed, progress=progress, store=store, watch=watch)
    return Evasion(
        name=detector.name,
        threat=str(plain.threat),
        false_positives=_flagged(detector, classify, images[outcome.clean_labels == plain.labels]),
        detected=_flagged(detector, classify, outcome.adversarial[outcome.success]),
        evaded_plain=Rate(by_plain, attacked),
        evaded=Rate(attacked - worst_case.survivors, attacked),
        tried=tried,
    )


def _flagged(detector: Detector, classify: Classify, images: Pixels) -> Rate:
    return Rate(int((guarded(classify, detector)(images) == ABSTAINED).sum()), len(images))
