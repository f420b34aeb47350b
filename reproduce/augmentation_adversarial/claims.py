"""What the paper says, and what the measured arms say to it.

The published pair of models differs in more than the adversary: equal error rate 11.81 % is of the weaker augmentation without
it, 8.50 % of the stronger one with it. Here augmentation is held fixed.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.evaluation.speech.conditions import CLEAN
from reproduce.augmentation_adversarial.arms import ADVERSARIAL, AUGMENTED, NONE, arm_name
from reproduce.augmentation_adversarial.measuring import NOISY, VERIFIED, SpeechArmFigures
from reproduce.differences import difference_of, difference_over_seeds
from reproduce.verdicts import Finding

Arms = dict[str, SpeechArmFigures]
Rows = NDArray[np.int64]

PROBE_MARGIN = 0.1
IDENTIFICATION_MARGIN = -0.01
PUBLISHED = "EER 11.81 % -> 8.50 %, not a controlled pair"
CHANNELS = {CLEAN: "across channels", NOISY: "across channels, with babble"}


def findings(arms: Arms, seeds: Sequence[int], speakers: int) -> list[Finding]:
    """All claims on the arms of these seeds; those that rest on several seeds where there are several."""
    measured = Comparison(arms, seeds, speakers)
    found = [measured.probed()]
    for better, worse, words in (
        (AUGMENTED, NONE, "Augmentation lowers the equal error rate"),
        (ADVERSARIAL, AUGMENTED, "The adversary lowers it further"),
    ):
        found += [measured.verified(better, worse, f"{words} {CHANNELS[condition]}", condition) for condition in VERIFIED]
    return [*found, measured.identified(), *measured.over_seeds()]


class Comparison:
    """The three arms of some seeds, compared on the same trials, pairs and recordings.

    Args:
        arms: figures by name.
        seeds: that all three were trained with; figures are means over them.
        speakers: of the trials.

    """

    def __init__(self, arms: Arms, seeds: Sequence[int], speakers: int) -> None:
        self._arms, self._seeds, self._speakers = arms, seeds, speakers

    def _of(self, kind: str) -> list[SpeechArmFigures]:
        return [self._arms[arm_name(kind, seed)] for seed in self._seeds]

    @property
    def _trainings(self) -> str:
        count = len(self._seeds)
        return "of one training each" if count == 1 else f"means of {count} trainings"

    def probed(self) -> Finding:
        """The probe finds less of the augmentation."""

        def accuracy(kind: str) -> Callable[[Rows], float]:
            tables = [_by_session(each) for each in self._of(kind)]
            return lambda rows: float(np.mean([table[rows].mean() for table in tables]))

        sessions = len(_by_session(self._of(ADVERSARIAL)[0]))
        return Finding(
            "Without the adversary a probe tells one augmentation from two more often",
            "-",
            f"accuracy of a probe on frozen embeddings, bootstrap over {sessions} held-out sessions, {self._trainings}",
            difference_of(accuracy(AUGMENTED), accuracy(ADVERSARIAL), sessions),
            PROBE_MARGIN,
        )

    def verified(self, better: str, worse: str, claim: str, condition: str) -> Finding:
        """One arm has a lower equal error rate than another."""

        def rate(kind: str) -> Callable[[Rows], float]:
            scores = [each.scores[condition] for each in self._of(kind)]
            return lambda rows: float(np.mean([each.rate_of(rows) for each in scores]))

        return Finding(
            claim,
            PUBLISHED if better == ADVERSARIAL else "-",
            f"equal error rate, bootstrap over {self._speakers} speakers, {self._trainings}",
            difference_of(rate(worse), rate(better), self._speakers),
        )

    def identified(self) -> Finding:
        """Clean identification does not suffer."""

        def accuracy(kind: str) -> Callable[[Rows], float]:
            tables = [each.right[CLEAN] for each in self._of(kind)]
            return lambda rows: float(np.mean([table[rows].mean() for table in tables]))

        recordings = len(self._of(ADVERSARIAL)[0].right[CLEAN])
        return Finding(
            "Identification of clean recordings does not suffer from the adversary",
            "-",
            f"accuracy of the kNN, bootstrap over {recordings} recordings, {self._trainings}",
            difference_of(accuracy(ADVERSARIAL), accuracy(AUGMENTED), recordings),
            IDENTIFICATION_MARGIN,
        )

    def over_seeds(self) -> list[Finding]:
        """The adversary's effect on the equal error rate over trainings; nothing with one seed."""
        if len(self._seeds) < 2:
            return []
        found = []
        for condition in VERIFIED:
            with_it, without = (
                [each.scores[condition].equal_error_rate for each in self._of(kind)] for kind in (ADVERSARIAL, AUGMENTED)
            )
            measured = f"equal error rate, Student's t over {len(self._seeds)} trainings, these speakers"
            apart = difference_over_seeds(without, with_it)
            found.append(Finding(f"Another training says so, too: {CHANNELS[condition]}", "-", measured, apart))
        return found


def _by_session(figures: SpeechArmFigures) -> NDArray[np.float64]:
    """The share of pairs that the probe told, by session: float64 [n]."""
    probed = figures.probed
    counts = np.bincount(probed.sessions)
    return np.bincount(probed.sessions, weights=probed.right) / counts
