"""Whole sets under an attack that wants to be believed: for each image the wrong answer that is suspected least.

It differs from `WorstCase` in what it asks. There an image is done with once it is fooled; here it is attacked on, for a wrong
answer that a detector would have stopped is worth little to an attacker who can have another. And images that are answered
wrongly when clean are attacked as well: their wrong answers can be made to look better.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.detectors import Detector
from holdfast.attacks.search.worst_case import NAME, WorstCase
from holdfast.attacks.victim import Victim
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.answers import Answers
from holdfast.model.preprocess import Pixels

Classify = Callable[[Pixels], Answers]
"""Images uint8 [N, H, W, 3] -> all that the server sees of them; `Classifier.classify` is one."""

CLASSIFIED_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class AimedOutcome:
    """What an attack on N images and a detector came to.

    Attributes:
        wrong: bool [N], where a wrong answer was found, be it to the clean image.
        suspicion: float64 [N], the detector's score of the wrong answer that it suspects least; inf where none was found.
        adversarial: uint8 [N, H, W, 3], the image of that answer; where none was found, the one that came nearest to it.
        adversarial_labels: int64 [N], the served answers to `adversarial`.
        found_by: for each image the name of what found it, "" for the clean image and where nothing did.

    """

    wrong: NDArray[np.bool_]
    suspicion: NDArray[np.float64]
    adversarial: Pixels
    adversarial_labels: NDArray[np.int64]
    found_by: tuple[str, ...]


class LeastSuspicious(WorstCase):
    """Per sample the wrong answer of the least suspicion over many attempts, every one of which sees all images."""

    def __init__(
        self,
        victim: Victim,
        images: Pixels,
        labels: NDArray[np.int64],
        threat: ThreatModel,
        *,
        classify: Classify,
        detector: Detector,
    ) -> None:
        """Have the clean images judged, which are the first candidates.

        Args:
            victim: what is attacked.
            images: uint8 [N, H, W, 3], the clean images.
            labels: int64 [N], their true classes.
            threat: where each image may move.
            classify: what the victim's server sees.
            detector: whose score is to be low; its threshold is not asked for.

        Raises:
            ValueError: images or labels are of another shape or type.

        """
        super().__init__(victim, images, labels, threat)
        self._classify, self._detector = classify, detector
        self._suspicion = np.full(len(images), np.inf)
        self._nearness = np.full(len(images), -np.inf)
        self.judge(self.rows, "", images)

    @property
    def survivors(self) -> int:
        """Images for which no wrong answer was found."""
        return int(np.isinf(self._suspicion).sum())

    @property
    def rows(self) -> NDArray[np.int64]:
        """All images: int64 [N]."""
        return np.arange(len(self._images))

    @property
    def description(self) -> str:
        """For a progress bar."""
        return f"{len(self._images) - self.survivors} of {len(self._images)} answered wrongly, as little suspected as may be"

    @property
    def fingerprint(self) -> str:
        """Of the ball, the images, what they are answered clean, and the detector."""
        return f"{super().fingerprint} {self._detector.name}"

    def judge(self, rows: NDArray[np.int64], name: str | NDArray[np.str_], images: Pixels) -> None:
        """Have candidates answered and keep those that are less suspected, or nearer to a wrong answer, than the best so far.

        For the arguments see `WorstCase.judge`.
        """
        labels, suspicion, nearness = self._judged(images, self._labels[rows])
        before = self._suspicion[rows]
        better = (suspicion < before) | (np.isinf(before) & (nearness > self._nearness[rows]))
        gains, names = rows[better], np.broadcast_to(np.asarray(name, dtype=NAME), rows.shape)
        self._suspicion[gains], self._nearness[gains] = suspicion[better], nearness[better]
        self._adversarial[gains], self._adversarial_labels[gains] = images[better], labels[better]
        self._found_by[gains] = np.where(np.isinf(suspicion), "", names)[better]

    def _judged(
        self, images: Pixels, truth: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Labels, suspicion (inf of right answers), and the share of the vote of the strongest wrong class."""
        labels, suspicion, nearness = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0)]
        for start in range(0, len(images), CLASSIFIED_AT_ONCE):
            part = slice(start, start + CLASSIFIED_AT_ONCE)
            answers, true = self._classify(images[part]), truth[part]
            shares = answers.probabilities.astype(np.float64)
            shares[np.arange(len(true)), true] = -np.inf
            labels.append(answers.labels)
            suspicion.append(np.where(answers.labels != true, self._detector.score(answers), np.inf))
            nearness.append(shares.max(axis=1))
        return np.concatenate(labels), np.concatenate(suspicion), np.concatenate(nearness)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that was found so far, as arrays to save; `restore` takes them back."""
        return super().state() | {"suspicion": self._suspicion, "nearness": self._nearness}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from `state()` of the same images, victim, detector and threat model."""
        super().restore(state)
        self._suspicion, self._nearness = state["suspicion"].copy(), state["nearness"].copy()

    def aimed_outcome(self) -> AimedOutcome:
        """The best found so far, from the attacker's point of view."""
        return AimedOutcome(
            wrong=np.isfinite(self._suspicion),
            suspicion=self._suspicion.copy(),
            adversarial=self._adversarial.copy(),
            adversarial_labels=self._adversarial_labels,
            found_by=tuple(self._found_by.tolist()),
        )
