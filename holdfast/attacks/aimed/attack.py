"""What is run against a detector: PGD on losses that know of it, each of them on all images."""

from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.attacks.aimed.aware import DetectorAware
from holdfast.attacks.aimed.losses import LogOdds
from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.detectors import CREDIBILITY, Detector
from holdfast.attacks.losses import AttackLoss
from holdfast.attacks.search.suite import AttackSuite

WEIGHTS = (1.0, 10.0)
"""Of a detector's penalty beside a margin."""

MOST_ATTACKS = 8
"""In a suite, whatever the detector."""


@dataclass(frozen=True)
class AimedAttack:
    """A suite for each detector.

    Attributes:
        tau: temperature of the soft kNN: that at which it is likest the vote.
        steps: gradients per attack.
        batch_size: images attacked at once.

    """

    tau: float
    steps: int = 40
    batch_size: int = 128

    def suite(self, detector: Detector) -> AttackSuite:
        """What is run against `detector`: from anywhere in the ball first, then on from the best that was found."""
        losses = tuple(self._losses(detector))
        attacks = (PGDAttack(loss, self.steps, onward=onward) for onward in (False, True) for loss in losses)
        return AttackSuite(tuple(attacks), self.batch_size)

    def _losses(self, detector: Detector) -> Iterable[AttackLoss]:
        if detector.name == CREDIBILITY:
            return (LogOdds(self.tau), *(LogOdds(self.tau, rank) for rank in (1, 2, 3)))
        return (DetectorAware(detector, self.tau, weight) for weight in WEIGHTS)
