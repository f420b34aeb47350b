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
from holdfast.data import DataError
from holdfast.data.sources import LabelledSource
from holdfast.index_build.attack import attack, embedded
from holdfast.model.preprocess import Pixels
from holdfast.model.retrieval.embeddings import ReadableBank
from holdfast.model.surrogate import SoftKNN

Ints = NDArray[np.int64]

READ_AT_ONCE = 4096  # images in memory

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

    def harden(
        self, bundle: Bundle, exemplars: LabelledSource, bank: ReadableBank, first: int, advance: Callable[[int], None]
    ) -> Ints:
        """Attack some exemplars, and put what comes out in their place.

        Args:
            bundle: has the encoder and its gradient.
            exemplars: n images, whose embeddings are rows `first` to first + n - 1 of the bank.
            bank: all exemplars, which are read into memory; the embeddings of those attacked are changed in place.
            first: of the images.
            advance: called with the number of images after each gradient step on them.

        Returns:
            int64, the rows of the bank that were changed.

        Raises:
            DataError: an image cannot be read.

        """
        rows = self.rows(len(exemplars))
        surrogate = SoftKNN(np.asarray(bank.embeddings), bank.labels, int(bank.labels.max()) + 1, TAU)
        for start in range(0, len(rows), READ_AT_ONCE):
            some = rows[start : start + READ_AT_ONCE]
            images, labels = read_all(exemplars, some), bank.labels[first + some]
            attacked = attack(bundle, images, labels, surrogate, self.threat, steps=self.steps, advance=advance)
            bank.embeddings[first + some] = embedded(bundle, attacked)
        return first + rows


def read_all(source: LabelledSource, rows: Ints) -> Pixels:
    """Images of these rows, uint8 [n, H, W, 3]. Raises DataError where one cannot be read."""
    read = source.read(rows)
    if read.faults:
        fault = read.faults[0]
        raise DataError(f"{source.sources[fault.row]}: {fault.reason}; attacking images needs all of them: remove it")
    return read.images
