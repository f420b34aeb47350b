"""Whole sets under attack: for each image the worst that any attempt found, as judged by the answer as served."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.attacks.quantise import to_images_within, to_pixels
from holdfast.attacks.victim import Victim, is_fooled
from holdfast.bundle.threat_model import ThreatModel
from holdfast.console import Progress
from holdfast.model.preprocess import Pixels

Propose = Callable[[Tensor, Tensor], Tensor]
"""(pixels float [n, 3, H, W], labels int64 [n]) -> candidates float [n, 3, H, W], which are rounded before they are judged."""

NAME = "<U80"
"""How numpy keeps the names of attacks."""


@dataclass(frozen=True, eq=False)
class AttackOutcome:
    """What attacks on N images came to.

    Attributes:
        clean_labels: int64 [N], the served answers to the clean images.
        success: bool [N]: answered rightly when clean, wrongly when attacked. Never true where the clean answer is wrong.
        adversarial: uint8 [N, H, W, 3]: the image that fooled it; where none did, the last one tried; where the clean
            answer was wrong already, the clean image.
        adversarial_labels: int64 [N], the served answers to `adversarial`.
        found_by: for each image the name of what fooled it, "" where nothing did.

    """

    clean_labels: NDArray[np.int64]
    success: NDArray[np.bool_]
    adversarial: Pixels
    adversarial_labels: NDArray[np.int64]
    found_by: tuple[str, ...]


class WorstCase:
    """Per-sample worst case over many attempts; each attempt sees the survivors only: what is still answered rightly."""

    def __init__(
        self,
        victim: Victim,
        images: Pixels,
        labels: NDArray[np.int64],
        threat: ThreatModel,
        clean_labels: NDArray[np.int64] | None = None,
    ) -> None:
        """Ask for the answers to the clean images; those that are answered wrongly already are left alone.

        Args:
            victim: what is attacked.
            images: uint8 [N, H, W, 3], the clean images.
            labels: int64 [N], their true classes.
            threat: where each image may move.
            clean_labels: int64 [N], the served answers to `images`, where they were asked for already.

        Raises:
            ValueError: images or labels are of another shape or type.

        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images are uint8 [N, H, W, 3], not {images.dtype} {list(images.shape)}")
        if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
            raise ValueError(f"{len(images)} images take as many integer labels, not {labels.dtype} {list(labels.shape)}")
        self.victim, self.threat = victim, threat
        self._images, self._labels = images, labels
        self._clean_labels = victim.answer(images) if clean_labels is None else clean_labels
        self._adversarial = images.copy()
        self._adversarial_labels = self._clean_labels.copy()
        self._found_by = np.full(len(images), "", dtype=NAME)
        self._survives = self._clean_labels == labels

    @property
    def survivors(self) -> int:
        """How many images are still answered rightly."""
        return int(self._survives.sum())

    @property
    def description(self) -> str:
        """For a progress bar."""
        return f"{self.survivors} of {len(self._images)} survive"

    @property
    def fingerprint(self) -> str:
        """Of the ball, the images and what they are answered clean: it tells one worst case from another."""
        parts = self._images.tobytes(), self._labels.tobytes(), self._clean_labels.tobytes()
        return f"{self.threat} {hashlib.sha256(b''.join(parts)).hexdigest()}"

    @property
    def rows(self) -> NDArray[np.int64]:
        """Which images survive: int64 [survivors], ascending."""
        return np.flatnonzero(self._survives)

    def attempt(self, name: str, propose: Propose, *, batch_size: int) -> Iterator[int]:
        """Let `propose` try every survivor; yields the size of each batch when it is judged.

        Args:
            name: what `found_by` will say.
            propose: (pixels float [n, 3, H, W], labels int64 [n]) -> candidates float [n, 3, H, W]. They are rounded
                to uint8 inside the ball before they are judged.
            batch_size: how many images are proposed for at once.

        """
        for rows in batches(self.rows, batch_size):
            self.judge(rows, name, self.candidates(rows, propose))
            yield len(rows)

    def candidates(self, rows: NDArray[np.int64], propose: Propose) -> Pixels:
        """What is proposed for the images `rows`, int64 [n], rounded inside the ball and not yet judged: uint8 [n, H, W, 3].

        It changes nothing, so several threads may call it at once.
        """
        clean, labels = self._images[rows], self._labels[rows]
        device = self.victim.device
        proposed = propose(to_pixels(clean, device), torch.from_numpy(labels).to(device))
        return to_images_within(proposed, clean, self.threat)

    def best(self, rows: NDArray[np.int64]) -> Pixels:
        """What was kept of the images `rows`, int64 [n], so far: the clean images at first. Shape: uint8 [n, H, W, 3]."""
        kept: Pixels = self._adversarial[rows]
        return kept

    def credited(self, name: str, rows: NDArray[np.int64]) -> int:
        """How many of the images `rows`, int64 [n], hold what the attack of this name proposed."""
        return int((self._found_by[rows] == np.asarray(name, dtype=NAME)).sum())

    def inherit(self, name: NDArray[np.str_], candidates: Pixels) -> None:
        """Judge images that were found earlier, for instance in a smaller ball: uint8 [N, H, W, 3], all of them at once.

        Raises:
            ValueError: where one lies outside the ball.

        """
        rows = self.rows
        inside = to_images_within(to_pixels(candidates[rows]), self._images[rows], self.threat)
        if not np.array_equal(inside, candidates[rows]):
            raise ValueError(f"inherited candidates lie outside {self.threat}")
        self.judge(rows, name[rows], inside)

    def judge(self, rows: NDArray[np.int64], name: str | NDArray[np.str_], images: Pixels) -> None:
        """Have uint8 [n, H, W, 3] candidates for the images `rows`, int64 [n], answered, and keep what came of it.

        Args:
            rows: each at most once.
            name: of what proposed them, one for all or one for each.
            images: inside the ball.

        """
        answers = self.victim.answer(images)
        fooled = is_fooled(answers, self._labels[rows])
        self._adversarial[rows], self._adversarial_labels[rows] = images, answers
        self._found_by[rows] = np.where(fooled, name, "")
        self._survives[rows] = ~fooled

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that was found so far, as arrays to save; `restore` takes them back."""
        return {
            "adversarial": self._adversarial,
            "adversarial_labels": self._adversarial_labels,
            "found_by": self._found_by,
            "survives": self._survives,
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from `state()` of a worst case for the same images, victim and threat model."""
        self._adversarial, self._adversarial_labels = state["adversarial"].copy(), state["adversarial_labels"].copy()
        self._found_by, self._survives = state["found_by"].astype(NAME), state["survives"].copy()

    def outcome(self) -> AttackOutcome:
        """The worst found so far."""
        return AttackOutcome(
            clean_labels=self._clean_labels,
            success=(self._clean_labels == self._labels) & ~self._survives,
            adversarial=self._adversarial,
            adversarial_labels=self._adversarial_labels,
            found_by=tuple(self._found_by.tolist()),
        )


class WorstCaseAttack(ABC):
    """What attacks a whole set and keeps the worst for each image. This class keeps the call; subclasses implement `run`.

    Attacks that propose one candidate per image are `holdfast.attacks.attack.Attack`s; `AttackSuite` runs several of them.
    """

    @abstractmethod
    def __str__(self) -> str:
        """What is tried, for reports."""

    def __call__(
        self,
        victim: Victim,
        images: Pixels,
        labels: NDArray[np.int64],
        threat: ThreatModel,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> AttackOutcome:
        """Attack every image.

        Args:
            victim: what is attacked.
            images: uint8 [N, H, W, 3], the clean images; those that are answered wrongly already are left alone.
            labels: int64 [N], their true classes.
            threat: where each image may move.
            seed: of all random numbers: the same seed, the same outcome (on the same kind of device).
            progress: where to show a bar; none without.

        Raises:
            ValueError: see `WorstCase`.

        """
        worst_case = WorstCase(victim, images, labels, threat)
        self.run(worst_case, seed=seed, progress=progress)
        return worst_case.outcome()

    @abstractmethod
    def run(self, worst_case: WorstCase, *, seed: int = 0, progress: Progress | None = None) -> object:
        """Try the survivors of `worst_case`, which keeps what is found."""


def batches(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """`rows` in parts of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
