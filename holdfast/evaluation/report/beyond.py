"""What other attacks of a report found beyond those that aim at credibility: a page says no less than it has itself shown."""

from collections.abc import Collection, Iterable

from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.report.parts.attacks import ThreatResult
from holdfast.evaluation.report.parts.base import Measured
from holdfast.evaluation.report.parts.judgements import AimedThreat
from holdfast.intervals import Rate


def with_beyond(
    aimed: AimedThreat,
    threat: ThreatModel,
    others: Iterable[ThreatResult],
    *,
    rows: Collection[int],
    same_images: bool,
) -> AimedThreat:
    """Count as wrong and answered, too, what attacks that ignore credibility found in the ball or a smaller one of its norm.

    What credibility these wrong answers had is not known, so they count for what an attacker hopes for.

    Args:
        aimed: what came of aiming at credibility; it says which images it found wrong.
        threat: its ball.
        others: other attacks, with any knowledge, within any balls.
        rows: in the test set, of the images that were attacked for `aimed`.
        same_images: whether `others` attacked these very images. Where one does not say which of them it found wrong, but how
            many, the two can have found no fewer than the larger of the two numbers.

    """
    within = [other for other in others if other.norm == threat.norm and other.epsilon <= threat.epsilon]
    found = set(aimed.wrong_images or ())
    beyond = {row for other in within for row in other.wrong_images or ()} & set(rows) - found
    least = max((_wrong(other) for other in within if same_images and other.wrong_images is None), default=0)
    more = max(len(beyond), least - aimed.wrong.successes)
    return aimed.model_copy(
        update={
            "wrong": _and(aimed.wrong, more),
            "answered": _and(aimed.answered, more),
            "beyond": aimed.beyond + more,
            "wrong_images": tuple(sorted(found | beyond)),
        }
    )


def _wrong(result: ThreatResult) -> int:
    return result.robust.trials - result.robust.successes


def _and(measured: Measured, more: int) -> Measured:
    return Measured.of(Rate(measured.successes + more, measured.trials))
