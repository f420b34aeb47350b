"""The attack on alarms: fool the vote and keep the alarm silent, in one loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.detectors.detector import Alarm
from holdfast.attacks.losses import AttackLoss, Loss
from holdfast.attacks.search.journal import Tried
from holdfast.attacks.search.suite import AttackSuite, Watch
from holdfast.attacks.victim import ABSTAINED, NAME, Judge, Outcome, Victim, WorstCase
from holdfast.bundle.threat_model import ThreatModel
from holdfast.intervals import Rate
from holdfast.model.answers import Answers
from holdfast.model.preprocess import Pixels

Answer = Callable[[Pixels], Answers]
"""Images uint8 [N, H, W, 3] -> all that the server sees of them; `Classifier.classify` is one."""

WEIGHTS = (0.0, 1.0, 3.0, 10.0, 30.0)
"""Of an alarm in the loss. The margin is in nats and moves by several; most penalties lie within [-1, 1]. At 0 the attack
only goes on where one that ignores the alarm stops: at the first wrong answer."""

TAUS = (0.05, 0.2)
JUDGED_AT_ONCE = 256


@dataclass(frozen=True)
class AlarmAware:
    """A rung that fools the vote without raising an alarm: the margin, less `weight` times the alarm's penalty.

    Attributes:
        alarm: that is to stay silent.
        tau: temperature of the margin, on the whole-bank soft kNN.
        weight: of the penalty; none knows which is the best, so several are climbed.

    """

    alarm: Alarm
    tau: float
    weight: float

    def __str__(self) -> str:
        return f"margin tau {self.tau:g} less {self.weight:g} {self.alarm.name}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """Max over c != y of L_c, less L_y, less weight x penalty(z, that c)."""
        surrogate = victim.surrogate.at(self.tau)

        def loss(attacked: Tensor) -> Tensor:
            z = victim.embed(attacked)
            scores = surrogate.log_scores(z)
            strongest, wanted = scores.scatter(1, labels[:, None], -torch.inf).max(1)
            return strongest - scores.gather(1, labels[:, None])[:, 0] - self.weight * self.alarm.penalty(z, wanted)

        return loss


def guarded(answer: Answer, alarm: Alarm) -> Judge:
    """The judge that says `ABSTAINED` where `alarm` goes off: an attack that raises it has not fooled anybody."""

    def judge(images: Pixels) -> NDArray[np.int64]:
        parts = [answer(images[i : i + JUDGED_AT_ONCE]) for i in range(0, len(images), JUDGED_AT_ONCE)]
        judged = [np.where(alarm.raised(part), ABSTAINED, part.labels) for part in parts]
        return np.concatenate([np.zeros(0, np.int64), *judged])

    return judge


@dataclass(frozen=True)
class Evasion:
    """How an alarm fares.

    Attributes:
        name: of the alarm.
        threat: the ball, as text.
        false_positives: clean images, answered rightly, on which it goes off.
        detected: of the images that an attack ignoring the alarm made fool the vote, those on which it goes off.
        evaded_plain: images answered wrongly without an alarm by that attack alone. As in `evaded`, the trials are the
            images answered rightly and without an alarm when clean.
        evaded: the same, when attacked with the alarm in the loss as well: per image the worst of all losses.
        tried: what each loss added.

    """

    name: str
    threat: str
    false_positives: Rate
    detected: Rate
    evaded_plain: Rate
    evaded: Rate
    tried: tuple[Tried, ...]


def evasion(  # noqa: PLR0917 - alarm and server, then as every attack takes them
    alarm: Alarm,
    victim: Victim,
    answer: Answer,
    images: Pixels,
    labels: NDArray[np.int64],
    threat: ThreatModel,
    *,
    plain: Outcome,
    weights: Sequence[float] = WEIGHTS,
    taus: Sequence[float] = TAUS,
    also: Sequence[AttackLoss] = (),
    steps: int = 40,
    batch_size: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
    store: Path | None = None,
    watch: Watch | None = None,
) -> Evasion:
    """Attack a vote and its alarm at once.

    Args:
        alarm: at the threshold to be measured.
        victim: what is attacked; its judge is not asked.
        answer: what its server sees.
        images: uint8 [N, H, W, 3].
        labels: int64 [N], their true classes.
        threat: where each image may move.
        plain: what an attack that ignores the alarm made of the same images within the same ball.
        weights: of the alarm in the loss, each at every one of `taus`.
        taus: temperatures of the margin.
        also: rungs to be climbed besides, to their end: `SitawarinWagner(k, 2 * k)` wants all k neighbours of one wrong
            class, and so is an attack on credibility by itself.
        steps: gradients per climb.
        batch_size: images attacked at once.
        seed: of the random starts.
        progress: where to show a bar.
        store: see `AttackSuite.climb`.
        watch: see `AttackSuite.climb`.

    Raises:
        ValueError: `plain` is of a larger ball.

    """
    right = plain.clean_labels == labels
    worst_case = WorstCase(replace(victim, judge=guarded(answer, alarm)), images, labels, threat)
    attacked = worst_case.standing
    worst_case.inherit(np.array(plain.found_by, dtype=NAME), plain.adversarial)
    by_plain = attacked - worst_case.standing
    aware = (AlarmAware(alarm, tau, weight) for weight in weights for tau in taus)
    climbs = tuple(PGDAttack(rung, steps) for rung in (*also, *aware))
    tried = AttackSuite(climbs, batch_size).climb(worst_case, seed=seed, progress=progress, store=store, watch=watch)
    return Evasion(
        name=alarm.name,
        threat=str(threat),
        false_positives=_raised(alarm, answer, images[right]),
        detected=_raised(alarm, answer, plain.adversarial[plain.success]),
        evaded_plain=Rate(by_plain, attacked),
        evaded=Rate(attacked - worst_case.standing, attacked),
        tried=tried,
    )


def _raised(alarm: Alarm, answer: Answer, images: Pixels) -> Rate:
    return Rate(int((guarded(answer, alarm)(images) == ABSTAINED).sum()), len(images))
