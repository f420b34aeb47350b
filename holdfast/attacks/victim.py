"""What is attacked, and the bookkeeping of a worst_case: per-sample worst case, judged by the answer as served."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from holdfast.attacks.quantise import to_images_within, to_pixels
from holdfast.attacks.surrogate import SoftKNN
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import Pixels

Embed = Callable[[Tensor], Tensor]
"""Pixels float [N, 3, H, W] in [0, 1] -> L2-normalised embeddings [N, D], differentiable."""

Judge = Callable[[Pixels], NDArray[np.int64]]
"""The answer as served: images uint8 [N, H, W, 3] -> labels [N], or `ABSTAINED` where an alarm kept it back."""

Scores = Callable[[Pixels], NDArray[np.float32]]
"""What a client may read beside the label: images uint8 [N, H, W, 3] -> scores [N, C], the largest for the answer."""

Propose = Callable[[Tensor, Tensor], Tensor]
"""(pixels float [n, 3, H, W], labels int64 [n]) -> candidates float [n, 3, H, W], which are rounded before they are judged."""

NAME = "<U80"
"""How numpy keeps the names of attacks."""

ABSTAINED = -1
"""No answer, and so no wrong one: an attack that only raises an alarm has not fooled anybody."""


@dataclass(frozen=True, eq=False)
class Victim:
    """A served classifier with all that a white-box attacker knows of it.

    Attributes:
        embed: the encoder, weights known.
        surrogate: the whole bank with its labels, known; its temperature is the attack's to choose.
        judge: the pipeline as served, which alone decides what is a success.
        scores: for black-box attacks on scores; without them those see the surrogate, which is smoother.
        threads: batches that a ladder attacks side by side, each in a CPU thread of its own. What is found is the same.

    """

    embed: Embed
    surrogate: SoftKNN
    judge: Judge
    scores: Scores | None = None
    threads: int = 1

    @property
    def device(self) -> torch.device:
        """Where the bank lies, and so where attacks run."""
        return self.surrogate.bank.device


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an attack on N images came to.

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


class Attack(Protocol):
    """Anything that tries to change served answers within a threat model."""

    def __call__(
        self,
        victim: Victim,
        images: Pixels,
        labels: NDArray[np.int64],
        threat: ThreatModel,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Outcome:
        """Attack uint8 [N, H, W, 3] images whose true classes are int64 [N] labels; the same seed, the same outcome."""
        ...


class WorstCase:
    """Per-sample worst case over many attempts; each attempt sees only the images that still stand."""

    def __init__(self, victim: Victim, images: Pixels, labels: NDArray[np.int64], threat: ThreatModel) -> None:
        self.victim, self.threat = victim, threat
        self._images, self._labels = images, labels
        self._clean_labels = victim.judge(images)
        self._adversarial = images.copy()
        self._adversarial_labels = self._clean_labels.copy()
        self._found_by = np.full(len(images), "", dtype=NAME)
        self._standing = self._clean_labels == labels

    @property
    def standing(self) -> int:
        """How many images are still answered rightly."""
        return int(self._standing.sum())

    @property
    def told(self) -> str:
        """For a progress bar."""
        return f"{self.standing} of {len(self._images)} stand"

    @property
    def fingerprint(self) -> str:
        """Of the ball, the images and what they are answered clean: it tells one worst_case from another."""
        parts = self._images.tobytes(), self._labels.tobytes(), self._clean_labels.tobytes()
        return f"{self.threat} {hashlib.sha256(b''.join(parts)).hexdigest()}"

    @property
    def rows(self) -> NDArray[np.int64]:
        """Which ones: int64 [standing], ascending."""
        return np.flatnonzero(self._standing)

    def attempt(self, name: str, propose: Propose, *, batch_size: int) -> Iterator[int]:
        """Let `propose` try every image that stands; yields the size of each batch when it is judged.

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
        labels, answers = self._labels[rows], self.victim.judge(images)
        fooled = (answers != labels) & (answers != ABSTAINED)
        self._adversarial[rows], self._adversarial_labels[rows] = images, answers
        self._found_by[rows] = np.where(fooled, name, "")
        self._standing[rows] = ~fooled

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that was found so far, as arrays to save; `restore` takes them back."""
        return {
            "adversarial": self._adversarial,
            "adversarial_labels": self._adversarial_labels,
            "found_by": self._found_by,
            "standing": self._standing,
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from `state()` of a worst_case for the same images, victim and threat model."""
        self._adversarial, self._adversarial_labels = state["adversarial"].copy(), state["adversarial_labels"].copy()
        self._found_by, self._standing = state["found_by"].astype(NAME), state["standing"].copy()

    def outcome(self) -> Outcome:
        """The worst found so far."""
        return Outcome(
            clean_labels=self._clean_labels,
            success=(self._clean_labels == self._labels) & ~self._standing,
            adversarial=self._adversarial,
            adversarial_labels=self._adversarial_labels,
            found_by=tuple(self._found_by.tolist()),
        )


def batches(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """`rows` in parts of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
