"""Whole sets under attacks that want more than a wrong answer: each attack tries every image, and the best candidate stays.

They differ from `WorstCase` in what they ask. There an image is done with once it is fooled. Here it is attacked on: a wrong
answer that a detector would have stopped is worth little to an attacker who can have another. And images that are answered
wrongly when clean are attacked as well: their wrong answers can be made to look better.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.detectors import Detector
from holdfast.attacks.search.worst_case import NAME, WorstCase
from holdfast.attacks.victim import Victim
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.answers import Answers, Ints
from holdfast.model.preprocess import Pixels

Classify = Callable[[Pixels], Answers]
"""Images uint8 [N, H, W, 3] -> all that the server sees of them; `Classifier.classify` is one."""

CLASSIFIED_AT_ONCE = 256

RIGHT = 1e9
"""Above every suspicion that there can be: the score of right answers, less how near a wrong one is."""


@dataclass(frozen=True, eq=False)
class AimedOutcome:
    """What an attack on N images and a detector came to.

    Attributes:
        wrong: bool [N], where a wrong answer was found, be it to the clean image.
        suspicion: float64 [N], the detector's score of the wrong answer that it suspects least; inf where none was found.
        adversarial: uint8 [N, H, W, 3], the image of that answer; where none was found, the one that came nearest to it.
        adversarial_labels: int64 [N], the served answers to `adversarial`.
        found_by: for each image the name of what found `adversarial`, "" for the clean image.

    """

    wrong: NDArray[np.bool_]
    suspicion: NDArray[np.float64]
    adversarial: Pixels
    adversarial_labels: NDArray[np.int64]
    found_by: tuple[str, ...]


class BestFound(WorstCase):
    """Per sample the candidate of the lowest score over many attempts, every one of which sees all images.

    Subclasses implement `scores`.
    """

    def __init__(
        self,
        victim: Victim,
        images: Pixels,
        labels: NDArray[np.int64],
        threat: ThreatModel,
        classify: Classify,
    ) -> None:
        """Have the clean images judged, which are the first candidates.

        Args:
            victim: what is attacked.
            images: uint8 [N, H, W, 3], the clean images.
            labels: int64 [N], their true classes.
            threat: where each image may move.
            classify: what the victim's server sees.

        Raises:
            ValueError: images or labels are of another shape or type.

        """
        super().__init__(victim, images, labels, threat)
        self._classify = classify
        self._scores = np.full(len(images), np.inf)
        self.judge(self.rows, "", images)

    @abstractmethod
    def scores(self, answers: Answers, truth: Ints) -> NDArray[np.float64]:
        """What the attacker wants to be low, of n answers whose images are of the classes int64 [n]: float64 [n], finite."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """All images: int64 [N]."""
        return np.arange(len(self._images))

    def judge(self, rows: NDArray[np.int64], name: str | NDArray[np.str_], images: Pixels) -> None:
        """Have candidates answered and keep those of a lower score than the best so far.

        For the arguments see `WorstCase.judge`.
        """
        names = np.broadcast_to(np.asarray(name, dtype=NAME), rows.shape)
        for start in range(0, len(images), CLASSIFIED_AT_ONCE):
            part = slice(start, start + CLASSIFIED_AT_ONCE)
            answers, here = self._classify(images[part]), rows[part]
            scores = self.scores(answers, self._labels[here])
            better = scores < self._scores[here]
            gains = here[better]
            self._scores[gains], self._found_by[gains] = scores[better], names[part][better]
            self._adversarial[gains], self._adversarial_labels[gains] = images[part][better], answers.labels[better]

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that was found so far, as arrays to save; `restore` takes them back."""
        return super().state() | {"scores": self._scores}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from `state()` of the same images, victim and threat model."""
        super().restore(state)
        self._scores = state["scores"].copy()


class LeastSuspicious(BestFound):
    """Per sample the wrong answer that a detector suspects least, or what came nearest to a wrong answer."""

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
        """As `BestFound`; `detector` is whose score is to be low, and its threshold is not asked for."""
        self._detector = detector
        super().__init__(victim, images, labels, threat, classify)

    def scores(self, answers: Answers, truth: Ints) -> NDArray[np.float64]:
        """Suspicion of wrong answers; of right ones `RIGHT` less the share of the vote of the strongest wrong class."""
        shares = answers.probabilities.astype(np.float64)
        shares[np.arange(len(truth)), truth] = -np.inf
        return np.where(answers.labels != truth, self._detector.score(answers), RIGHT - shares.max(axis=1))

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """For which images a wrong answer was found: bool [N]."""
        wrong: NDArray[np.bool_] = self._scores < RIGHT / 2
        return wrong

    @property
    def survivors(self) -> int:
        """Images for which no wrong answer was found."""
        return int((~self.wrong).sum())

    @property
    def description(self) -> str:
        """For a progress bar."""
        return f"{int(self.wrong.sum())} of {len(self._images)} answered wrongly, as little suspected as may be"

    @property
    def fingerprint(self) -> str:
        """Of the ball, the images, what they are answered clean, and the detector."""
        return f"{super().fingerprint} {self._detector.name}"

    def aimed_outcome(self) -> AimedOutcome:
        """The best found so far, from the attacker's point of view."""
        return AimedOutcome(
            wrong=self.wrong,
            suspicion=np.where(self.wrong, self._scores, np.inf),
            adversarial=self._adversarial.copy(),
            adversarial_labels=self._adversarial_labels.copy(),
            found_by=tuple(self._found_by.tolist()),
        )


class LeastShare(BestFound):
    """Per sample the image whose true class has the least share of the vote: what empties prediction sets of the truth."""

    def scores(self, answers: Answers, truth: Ints) -> NDArray[np.float64]:
        """The share of the vote of the true class, in [0, 1]."""
        shares: NDArray[np.float64] = answers.probabilities[np.arange(len(truth)), truth].astype(np.float64)
        return shares

    @property
    def description(self) -> str:
        """For a progress bar."""
        return f"true class's mean share {self._scores.mean():.3f}"

    @property
    def adversarial(self) -> Pixels:
        """Those images: uint8 [N, H, W, 3]."""
        return self._adversarial.copy()
