"""The adaptive attack: PGD that knows the classifier is a kNN, on a ladder of surrogates, judged by the served vote.

Which temperature is the worst differs by tens of points between encoders, so all are climbed. The result is the
per-sample worst case; each rung sees only what the rungs before it left standing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.losses import AttackLoss, Guided, Margin, RelativeMargin, Targeted
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.victim import Outcome, Victim
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import Pixels

TAUS = (0.02, 0.05, 0.1, 0.2)
LADDER: tuple[AttackLoss, ...] = (
    *(Margin(tau) for tau in TAUS),
    # The margin follows whichever wrong class leads, and can be torn between two; these are not.
    *(Targeted(0.05, rank) for rank in (1, 2, 3)),
    RelativeMargin(),
    Guided(),
)


@dataclass(frozen=True)
class AdaptiveAttack:
    """White box: weights, bank and labels are known.

    Attributes:
        rungs: the losses, climbed in this order.
        steps: gradients per restart. The step size is 2.5 epsilon / steps, so that every point of the ball can be
            reached and left again (Madry et al. 2018).
        restarts: random starts per rung.
        batch_size: images attacked at once.

    """

    rungs: tuple[AttackLoss, ...] = LADDER
    steps: int = 40
    restarts: int = 1
    batch_size: int = 128

    def __str__(self) -> str:
        return f"PGD-{self.steps} x {self.restarts} on " + ", ".join(map(str, self.rungs))

    def __call__(
        self,
        victim: Victim,
        images: Pixels,
        labels: NDArray[np.int64],
        threat: ThreatModel,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Outcome:
        """Attack uint8 [N, H, W, 3] images whose true classes are int64 [N] labels.

        Args:
            victim: what is attacked.
            images: the clean images; those that are answered wrongly already are left alone.
            labels: their true classes.
            threat: where each image may move.
            seed: of the random starts: the same seed, the same outcome (on the same kind of device).
            progress: where to show a bar; none without.

        """
        return self.ladder(victim, images, labels, threat, seed=seed, progress=progress)

    @property
    def ladder(self) -> AttackSuite:
        """Its steps, restarts of one rung side by side."""
        climbs = tuple(PGDAttack(rung, self.steps) for rung in self.rungs for _ in range(self.restarts))
        return AttackSuite(climbs, self.batch_size)
