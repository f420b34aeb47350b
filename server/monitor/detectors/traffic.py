"""What detectors see of one batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Answers, Floats, Ints
from holdfast.model.preprocess import Pixels


@dataclass(frozen=True, slots=True, eq=False)
class ObservedTraffic:
    """N answered images.

    Attributes:
        now: seconds, on time.monotonic()'s clock.
        images: uint8 [N, H, W, C], as the encoder saw them.
        callers: intp [N], the callers' numbers in [0, capacity), or callers.NOBODY.
        embeddings, labels, probabilities, soft_margin, kth_distance: of their answers, as `Answers` has them.

    """

    now: float
    images: Pixels
    callers: NDArray[np.intp]
    embeddings: Floats
    labels: Ints
    probabilities: Floats
    soft_margin: Floats
    kth_distance: Floats

    @classmethod
    def of(cls, now: float, images: Sequence[Pixels], answers: Sequence[Answers], callers: NDArray[np.intp]) -> Self:
        """Several batches as one. What no detector looks at is left out: joining all columns takes as long as looking."""
        return cls(
            now,
            np.concatenate(images),
            callers,
            np.concatenate([part.embeddings for part in answers]),
            np.concatenate([part.labels for part in answers]),
            np.concatenate([part.probabilities for part in answers]),
            np.concatenate([part.soft_margin for part in answers]),
            np.concatenate([part.kth_distance for part in answers]),
        )

    def __len__(self) -> int:
        return len(self.images)
