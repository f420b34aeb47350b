"""What changes where one bundle takes the place of another of the same classes and labelled set."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.bundle.canary_set import CanarySet
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.console import Progress
from holdfast.data import LabelledImages, Splits
from holdfast.errors import HoldfastError
from holdfast.evaluation.pipeline import evaluate
from holdfast.evaluation.result import Evaluation
from holdfast.intervals import Counted, Difference, Rate, difference
from holdfast.intervals.paired import Bits
from holdfast.model.answers import Ints

AT_ONCE = 256


@dataclass(frozen=True)
class HandoverGate:
    """What a bundle must keep to take another's place.

    Attributes:
        agreement: least share of the old calibration images that it answers as the old bundle does.
        loss: by how much its clean and its robust accuracy may fall behind the old bundle's, each.

    """

    agreement: float = 0.9
    loss: float = 0.03


@dataclass(frozen=True)
class HandoverResult:
    """What was measured.

    Attributes:
        agreement: calibration images that both answer alike: the backward agreement.
        clean: accuracy of new less old, on the test images that were attacked.
        robust: likewise under attack, both within the old bundle's ball; only classes that the old bundle knows.
        fixed: images of the old bundle's canary, attacked when that was built, that the new one answers rightly, and how many
            the old one does; None where it has no such images.
        threat: the ball.
        images: attacked ones.

    """

    agreement: Rate
    clean: Difference
    robust: Difference
    fixed: tuple[Rate, Rate] | None
    threat: ThreatModel
    images: int

    def faults(self, gate: HandoverGate) -> list[str]:
        """Why the new bundle may not take the old one's place, a sentence each; none where it may."""
        found = []
        if self.agreement.value < gate.agreement:
            found.append(
                f"it answers {self.agreement.value:.1%} of {self.agreement.trials:,} calibration images as the old one does,"
                f" less than {gate.agreement:.0%}"
            )
        for name, apart in (("clean", self.clean), (f"robust ({self.threat})", self.robust)):
            if apart.estimate < -gate.loss:
                found.append(f"its {name} accuracy is {-100 * apart.estimate:.1f} points lower, more than {100 * gate.loss:g}")
        if self.fixed is not None and self.fixed[0].value < self.fixed[1].value - gate.loss:
            now, before = self.fixed
            found.append(
                f"of the {now.trials} attacked images of the old canary it answers {now.value:.0%} rightly, and the old one"
                f" {before.value:.0%}"
            )
        return found


def measure_handover(
    old: Bundle, new: Bundle, splits: Splits, *, images: int, steps: int, progress: Progress | None = None
) -> HandoverResult:
    """Compare two complete bundles.

    Args:
        old: that is served.
        new: that is to be.
        splits: the labelled set of both.
        images: test images that are attacked, drawn by a fixed seed.
        steps: gradients of the quick attack.
        progress: where to show bars.

    Raises:
        HoldfastError: they are not of the same classes and input, or there are no calibration images.

    """
    refuse_unlike(old, new)
    if not len(splits.calibration):
        raise HoldfastError("the labelled set has no calibration images to compare answers on: hold some out by --calibration")
    threat = old.manifest.ball
    attack, number = AdaptiveAttack(steps=steps), min(images, len(splits.test))
    attacked = partial(evaluate, test=splits.test, threat=threat, attack=attack, limit=number, progress=progress)
    before, after = (_answered_rightly(attacked(bundle.directory)) for bundle in (old, new))
    alike = answers_of(old, splits.calibration) == answers_of(new, splits.calibration)
    return HandoverResult(
        agreement=Rate(int(alike.sum()), len(alike)),
        clean=_difference(after[0], before[0]),
        robust=_difference(after[1], before[1]),
        fixed=_fixed(old.canary_set, old, new),
        threat=threat,
        images=len(before[0]),
    )


def refuse_unlike(old: Bundle, new: Bundle) -> None:
    """Raises HoldfastError where a server could not answer with one in the place of the other."""
    if old.class_names != new.class_names:
        raise HoldfastError(f"{new.directory} has other classes than {old.directory}: it cannot take its place")
    if old.manifest.input != new.manifest.input:
        raise HoldfastError(f"{new.directory} takes other images than {old.directory}: it cannot take its place")


def answers_of(bundle: Bundle, images: LabelledImages) -> Ints:
    """What a bundle answers: int64 [N]."""
    classifier = bundle.classifier()
    parts = (images.images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE))
    return np.concatenate([classifier.classify(part).labels for part in parts])


def _answered_rightly(found: Evaluation) -> tuple[Bits, Bits]:
    """Which images are answered rightly, and which of them under attack as well."""
    right: Bits = found.outcome.clean_labels == found.labels
    return right, right & ~found.outcome.success


def _difference(one: Bits, other: Bits) -> Difference:
    everything = np.ones(len(one), np.bool_)
    return difference(Counted(one, everything), Counted(other, everything))


def _fixed(canary: CanarySet | None, old: Bundle, new: Bundle) -> tuple[Rate, Rate] | None:
    if canary is None or canary.robust_accuracy is None:
        return None
    right = (bundle.classifier().classify(canary.attacked).labels == canary.labels for bundle in (new, old))
    now, before = (Rate(int(each.sum()), len(canary)) for each in right)
    return now, before
