"""The adaptive attack: PGD that knows the classifier is a kNN, on several surrogates, judged by the served vote.

Which temperature is the worst differs by tens of points between encoders, so all are tried. The result is the
per-sample worst case; each loss sees only the survivors of those before it.
"""

from dataclasses import dataclass

from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.losses import AttackLoss, Guided, Margin, RelativeMargin, Targeted
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.search.worst_case import WorstCase, WorstCaseAttack
from holdfast.console import Progress

TAUS = (0.02, 0.05, 0.1, 0.2)
LOSSES: tuple[AttackLoss, ...] = (
    *(Margin(tau) for tau in TAUS),
    # The margin follows whichever wrong class leads, and can be torn between two; these are not.
    *(Targeted(0.05, rank) for rank in (1, 2, 3)),
    RelativeMargin(),
    Guided(),
)


@dataclass(frozen=True)
class AdaptiveAttack(WorstCaseAttack):
    """White box: weights, bank and labels are known.

    Attributes:
        losses: tried in this order.
        steps: gradients per restart; for the step size see `PGDAttack`.
        restarts: random starts per loss.
        batch_size: images attacked at once.

    """

    losses: tuple[AttackLoss, ...] = LOSSES
    steps: int = 40
    restarts: int = 1
    batch_size: int = 128

    def __str__(self) -> str:
        return f"PGD-{self.steps} x {self.restarts} on " + ", ".join(map(str, self.losses))

    def run(self, worst_case: WorstCase, *, seed: int = 0, progress: Progress | None = None) -> None:
        """Run its suite."""
        self.suite.run(worst_case, seed=seed, progress=progress)

    @property
    def suite(self) -> AttackSuite:
        """Its attacks, restarts of one loss one after the other."""
        attacks = tuple(PGDAttack(loss, self.steps) for loss in self.losses for _ in range(self.restarts))
        return AttackSuite(attacks, self.batch_size)
