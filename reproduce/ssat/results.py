"""What was measured of one row, image by image, as it is kept on disk."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from holdfast.bundle.threat_model import Norm, ThreatModel
from holdfast.evaluation import Evaluation
from holdfast.intervals import Rate
from reproduce.kept_results import written

AttackName = Literal["pgd-knn", "ladder"]
ATTACKS: tuple[AttackName, ...] = ("pgd-knn", "ladder")
TITLES: dict[AttackName, str] = {"pgd-knn": "(a) the paper's PGD-kNN", "ladder": "(b) the adaptive ladder"}


@dataclass(frozen=True)
class Attacked:
    """What one attack on one row came to.

    Attributes:
        attack: which.
        steps: every step of it, in words.
        norm: of the ball.
        epsilon: of the ball, in pixels of [0, 1].
        right: a "1" for each attacked image that is answered rightly when clean, else a "0".
        held: a "1" for each that still is under attack.
        agreement: clean images on which the attacked surrogate gives the served answer.
        found_by: how many images each step was the first to fool.

    """

    attack: AttackName
    steps: str
    norm: Norm
    epsilon: float
    right: str
    held: str
    agreement: int
    found_by: dict[str, int]

    @property
    def threat(self) -> ThreatModel:
        """The ball."""
        return ThreatModel(self.norm, self.epsilon)

    @property
    def clean(self) -> Rate:
        """Of the attacked images, those that are answered rightly when clean."""
        return Rate(self.right.count("1"), len(self.right))

    @property
    def robust(self) -> Rate:
        """Of the attacked images, those that are answered rightly clean and attacked."""
        return Rate(self.held.count("1"), len(self.held))

    @property
    def dsr(self) -> Rate:
        """Defence success rate: of those answered rightly when clean, the ones that still are under attack."""
        return Rate(self.robust.successes, self.clean.successes)

    @classmethod
    def of(cls, name: AttackName, evaluation: Evaluation) -> "Attacked":
        """As the evaluation measured it."""
        right = evaluation.outcome.clean_labels == evaluation.labels
        found = Counter(step for step in evaluation.outcome.found_by if step)
        return cls(
            attack=name,
            steps=evaluation.attack,
            norm=evaluation.threat.norm,
            epsilon=evaluation.threat.epsilon,
            right=written(right),
            held=written(right & ~evaluation.outcome.success),
            agreement=evaluation.agreement.successes,
            found_by=dict(found.most_common()),
        )


@dataclass(frozen=True)
class Clean:
    """A "1" for each image of the whole test set that is answered rightly, else a "0"."""

    right: str

    @property
    def rate(self) -> Rate:
        """Clean accuracy."""
        return Rate(self.right.count("1"), len(self.right))
