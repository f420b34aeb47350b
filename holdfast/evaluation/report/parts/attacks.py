"""How often attacks succeeded, and whether they were any good."""

from holdfast.bundle.threat_model import Norm
from holdfast.evaluation.plan import Knowledge
from holdfast.evaluation.report.parts.base import AttackResult, Measured, ReportPart


class ThreatResult(ReportPart):
    """The per-sample worst case of a suite of attacks within one ball.

    Attributes:
        norm: of the ball.
        epsilon: its radius.
        knowledge: whether the attacker knew the exemplars; weights were known, unless it had "answers alone".
        clean: accuracy on the attacked images before the attack.
        robust: accuracy after it: answered rightly when clean and after every attack.
        dsr: of those answered rightly when clean, the ones that still are.
        inherited: images that were fooled already within a smaller ball of the same norm, and so were not tried again.
        wrong_images: rows in the test set of the images that are not robust, ascending; null in reports before version 5.
        steps: what was tried, in order, each on the survivors of those before.

    """

    norm: Norm
    epsilon: float
    knowledge: Knowledge
    clean: Measured
    robust: Measured
    dsr: Measured
    inherited: int
    wrong_images: tuple[int, ...] | None = None
    steps: tuple[AttackResult, ...]


class CurvePoint(ReportPart):
    """Accuracy at one epsilon, measured by itself: nothing carried over from other epsilons."""

    epsilon: float
    robust: Measured


class Curve(ReportPart):
    """Accuracy against epsilon under one quick white-box attack."""

    norm: Norm
    attack: str
    points: tuple[CurvePoint, ...]


class SanityCheck(ReportPart):
    """One way in which an evaluation can fool itself, and whether it did.

    Attributes:
        name: for instance "no vanishing gradients".
        asks: what must hold, with its number.
        measured: what was found, with its number.
        passed: whether it held.
        why: what it would mean if it did not, for the reader of the report.

    """

    name: str
    asks: str
    measured: str
    passed: bool
    why: str
