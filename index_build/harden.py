"""Hardening an index: attacked images in the place of some of the exemplars, under their true labels.

What an attack makes of an image then has neighbours of its own class, other attacked images. It costs clean accuracy, the more
of it the larger the share and the ball (docs/tried.md). Adversarial examples as exemplars: Wang, Jha and Chaudhuri 2018,
arXiv 1706.03922; there they choose among exemplars, here they take the place of some.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.data import LabelledImages
from holdfast.index_build.attack import attack, embedded
from holdfast.model.surrogate import SoftKNN

Floats = NDArray[np.float32]

TAU = 0.1
"""Temperature of the soft kNN that is attacked: at a higher one than most votes', so that many neighbours are left behind."""


@dataclass(frozen=True, slots=True)
class Hardening:
    """How an index is hardened.

    Args:
        share: of the exemplars, in (0, 1], that are attacked, evenly spread over the set.
        threat: the ball that they stay in.
        steps: gradients for each.

    Raises:
        ValueError: a share out of range, or no step.

    """

    share: float
    threat: ThreatModel
    steps: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.steps < 1:
            raise ValueError(f"hardening takes a share in (0, 1] and at least 1 step, not {self.share} and {self.steps}")

    def rows(self, size: int) -> NDArray[np.int64]:
        """Which of `size` exemplars are attacked: int64, sorted, round(share * size) of them."""
        return (np.arange(round(self.share * size)) / self.share).astype(np.int64)

    def harden(self, bundle: Bundle, exemplars: LabelledImages, embeddings: Floats, advance: Callable[[int], None]) -> Floats:
        """Attack some exemplars.

        Args:
            bundle: has the encoder and its gradient.
            exemplars: M images with their labels.
            embeddings: float32 [M, D], theirs; left as they are.
            advance: called with the number of images after each gradient step on them.

        Returns:
            float32 [M, D]: of the attacked images where there are, of the clean ones elsewhere.

        """
        rows = self.rows(len(exemplars))
        surrogate = SoftKNN(embeddings, exemplars.labels, len(exemplars.class_names), TAU)
        images, labels = exemplars.images[rows], exemplars.labels[rows]
        attacked = attack(bundle, images, labels, surrogate, self.threat, steps=self.steps, advance=advance)
        hardened = embeddings.copy()
        hardened[rows] = embedded(bundle, attacked)
        return hardened
