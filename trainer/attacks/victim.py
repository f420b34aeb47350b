"""What is attacked, and the bookkeeping of a hunt: per-sample worst case, judged by the answer as served."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from bundle.preprocess import Pixels
from bundle.threat_model import ThreatModel
from trainer.attacks.quantise import to_images_within, to_pixels
from trainer.attacks.surrogate import SoftKNN

Embed = Callable[[Tensor], Tensor]
"""Pixels float [N, 3, H, W] in [0, 1] -> L2-normalised embeddings [N, D], differentiable."""

Judge = Callable[[Pixels], NDArray[np.int64]]
"""The answer as served: images uint8 [N, H, W, 3] -> labels [N]."""


@dataclass(frozen=True, eq=False)
class Victim:
    """A served classifier with all that a white-box attacker knows of it.

    Attributes:
        embed: the encoder, weights known.
        surrogate: the whole bank with its labels, known; its temperature is the attack's to choose.
        judge: the pipeline as served, which alone decides what is a success.

    """

    embed: Embed
    surrogate: SoftKNN
    judge: Judge

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


class Hunt:
    """Per-sample worst case over many attempts; each attempt sees only the images that still stand."""

    def __init__(self, victim: Victim, images: Pixels, labels: NDArray[np.int64], threat: ThreatModel) -> None:
        self._victim, self._images, self._labels, self._threat = victim, images, labels, threat
        self._clean_labels = victim.judge(images)
        self._adversarial = images.copy()
        self._adversarial_labels = self._clean_labels.copy()
        self._found_by = [""] * len(images)
        self._standing = self._clean_labels == labels

    @property
    def standing(self) -> int:
        """How many images are still answered rightly."""
        return int(self._standing.sum())

    def attempt(self, name: str, propose: Callable[[Tensor, Tensor], Tensor], *, batch_size: int) -> Iterator[int]:
        """Let `propose` try every image that stands; yields the size of each batch when it is judged.

        Args:
            name: what `found_by` will say.
            propose: (pixels float [n, 3, H, W], labels int64 [n]) -> candidates float [n, 3, H, W]. They are rounded
                to uint8 inside the ball before they are judged.
            batch_size: how many images are proposed for at once.

        """
        for rows in _batches(np.flatnonzero(self._standing), batch_size):
            clean, labels = self._images[rows], self._labels[rows]
            device = self._victim.device
            candidates = propose(to_pixels(clean, device), torch.from_numpy(labels).to(device))
            images = to_images_within(candidates, clean, self._threat)
            answers = self._victim.judge(images)
            self._adversarial[rows], self._adversarial_labels[rows] = images, answers
            for row in rows[answers != labels]:
                self._found_by[row] = name
            self._standing[rows] = answers == labels
            yield len(rows)

    def outcome(self) -> Outcome:
        """The worst found so far."""
        return Outcome(
            clean_labels=self._clean_labels,
            success=(self._clean_labels == self._labels) & ~self._standing,
            adversarial=self._adversarial,
            adversarial_labels=self._adversarial_labels,
            found_by=tuple(self._found_by),
        )


def _batches(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
