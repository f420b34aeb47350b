"""What is run against a detector: PGD on losses that know of it, each of them on all images."""

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.attacks.aimed.aware import DetectorAware
from holdfast.attacks.aimed.losses import LogOdds
from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.detectors import Detector
from holdfast.attacks.losses import AttackLoss, CrossEntropy
from holdfast.attacks.search.suite import AttackSuite

WEIGHTS = (1.0, 10.0)
"""Of a detector's penalty beside a margin."""

MOST_ATTACKS = 4
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

    def suite(self, detector: Detector, *, begun: bool = False) -> AttackSuite:
        """What is run against `detector`: from anywhere in the ball first, then on from the best that was found.

        Args:
            detector: what is aimed at.
            begun: candidates of an attack on credibility are there already: where the detector, too, goes by the answer's
                share of the vote, the attack only goes on from them.

        """
        anywhere, onward = self._losses(detector)
        if begun and detector.by_share:
            anywhere = ()
        attacks = [PGDAttack(loss, self.steps) for loss in anywhere]
        return AttackSuite((*attacks, *(PGDAttack(loss, self.steps, onward=True) for loss in onward)), self.batch_size)

    def against_truth(self) -> AttackSuite:
        """What is run for the least share of the true class."""
        loss = CrossEntropy(self.tau)
        return AttackSuite(tuple(PGDAttack(loss, self.steps, onward=onward) for onward in (False, True)), self.batch_size)

    def _losses(self, detector: Detector) -> tuple[Sequence[AttackLoss], Sequence[AttackLoss]]:
        if detector.by_share:
            # Whichever class is the strongest is nearly always the one that was so at the clean image, so that one by itself
            # finds nothing more; nor do other temperatures, guides, or a margin less a penalty (docs/tried.md).
            strongest = LogOdds(self.tau)
            return (strongest, LogOdds(self.tau, 2), LogOdds(self.tau, 3)), (strongest,)
        aware = [DetectorAware(detector, self.tau, weight) for weight in WEIGHTS]
        return aware, aware
