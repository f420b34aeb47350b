"""What is said about answers, and what it was worth: credibility, detectors, abstention."""

from typing import Literal

from pydantic import Field

from holdfast.evaluation.report.parts.base import AttackResult, Measured, ReportPart


class RocPoint(ReportPart):
    """A detector at one threshold: of clean answers, and of attackers' wrong ones, the shares that it flags."""

    false_alarms: float = Field(ge=0, le=1, description="at most so many of the clean images answered rightly")
    ignoring: float | None = Field(description="of an attacker who ignores the detector; null where nothing was fooled")
    aiming: float | None = Field(description="of one who aims at it; null likewise")


class DetectorResult(ReportPart):
    """How a detector fares against an attacker who knows of it.

    Attributes:
        name: of the detector, for instance "credibility".
        false_positives: clean images, answered rightly, that it flags at its threshold.
        detected: of the adversarial images that ignore the detector and fool the vote, those that it flags.
        evaded: of the images attacked by one who aims at it, those answered wrongly and not flagged. Before version 4 of the
            report: of those among them that were answered rightly and not flagged when clean.
        threat: the ball, as text.
        roc: at several rates of false alarms; empty before version 4.
        auroc_ignoring: the chance that a wrong answer of an attacker who ignores it is more suspect than a right clean one.
        auroc_aiming: the same for one who aims at it; .5 is what a coin does.

    """

    name: str
    false_positives: Measured
    detected: Measured
    evaded: Measured
    threat: str
    roc: tuple[RocPoint, ...] = ()
    auroc_ignoring: float | None = None
    auroc_aiming: float | None = None


class SelectivePoint(ReportPart):
    """Error among the images answered when those of the least credibility are kept back."""

    coverage: float
    error: float
    credibility: float | None = Field(default=None, description="the least that is still answered")


Attacker = Literal["nobody", "ignores it", "aims at it"]
"""Whether there was an attacker, and whether the attack was for a wrong answer of high credibility, or for any."""


class Selective(ReportPart):
    """Error against coverage; abstention by credibility.

    Of an attacked image counts the wrong answer of the highest credibility that was found, and its clean answer where none
    was: so at every threshold the share answered wrongly is the most that the attacks found, of all images.
    """

    name: str = Field(description='"clean", or the ball, for instance "L-inf 4/255"')
    points: tuple[SelectivePoint, ...]
    attacker: Attacker = "nobody"
    images: int = Field(default=0, description="how many; 0 where a report of an earlier version does not say")


class AimedThreat(ReportPart):
    """What abstention is worth against one who aims at credibility, within one ball, over all attacked images.

    Attributes:
        threat: the ball, as text.
        wrong: images for which any wrong answer was found, those answered wrongly when clean included.
        answered: images of which a wrong answer is at or above the server's threshold, and so is given; and all of `beyond`.
        ignoring: images that attacks which ignore credibility and stop at the first wrong answer left answered and wrong.
        beyond: images of `wrong` for which only attacks of another run, which the report is of as well, found a wrong answer.
            What its credibility was is not known; curves and thresholds leave it out.
        wrong_images: rows in the test set of the images of `wrong`, ascending; null before version 5 of the report. Of a run
            that does not say which images it found wrong, `beyond` may count more than are listed here.
        steps: for each attack how many images hold the best of what it found when it ended.

    """

    threat: str
    wrong: Measured
    answered: Measured
    ignoring: Measured
    beyond: int = 0
    wrong_images: tuple[int, ...] | None = None
    steps: tuple[AttackResult, ...]

    @property
    def stopped(self) -> int:
        """Wrong answers that abstention stops."""
        return self.wrong.successes - self.answered.successes


class Bin(ReportPart):
    """Images whose credibility lies in (low, high], and how many of them are answered rightly."""

    low: float
    high: float
    accuracy: Measured


class ValidityPoint(ReportPart):
    """How many test images get a p-value of at most `level`: valid is a share of at most `level`, up to sampling error."""

    level: float = Field(gt=0, lt=1)
    true_labels: Measured = Field(description="the p-value of the true label, of which conformal prediction makes its promise")
    answers: Measured = Field(description="credibility, the p-value of the answer")


class RankingPoint(ReportPart):
    """Error among the images answered when those that a judgement trusts least are kept back."""

    coverage: float
    error: float


class Ranking(ReportPart):
    """How well one thing said of answers tells right ones from wrong ones.

    Attributes:
        judgement: what is said, for instance "credibility".
        condition: of which images: clean, shifted (see `holdfast.evaluation.stages.shifts`), or attacked by one who aims at
            this very judgement, where of each image counts the wrong answer that it trusts most, else the clean answer.
        images: how many.
        errors: wrong answers among them.
        auroc: the chance that a right answer is trusted more than a wrong one; null where there are none of either.
        points: thinned, the least coverage first.

    """

    judgement: str
    condition: str
    images: int
    errors: int
    auroc: float | None
    points: tuple[RankingPoint, ...]


class SetResult(ReportPart):
    """Prediction sets of one level, of one calibration, on images of one kind.

    Attributes:
        calibration: on what, for instance "attacked images of the class".
        condition: of the images: clean, or how they were attacked.
        level: a set holds every label whose p-value is above it, and 1 - level is the coverage that is promised.
        covered: sets that hold the true label.
        size: labels in a set, on average.

    """

    calibration: str
    condition: str
    level: float
    covered: Measured
    size: float


class PredictionSets(ReportPart):
    """Conformal prediction sets within one ball; calibration and test images were attacked alike."""

    threat: str
    calibrated_on: int = Field(description="calibration images")
    images: int = Field(description="test images")
    results: tuple[SetResult, ...]
