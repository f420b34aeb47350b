"""What detectors see of one batch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Answers
from holdfast.model.preprocess import Pixels


@dataclass(frozen=True, slots=True, eq=False)
class ObservedTraffic:
    """N answered images.

    Attributes:
        now: seconds, on time.monotonic()'s clock.
        images: uint8 [N, H, W, C], as the encoder saw them.
        answers: of N rows.
        callers: intp [N], the callers' numbers in [0, capacity), or callers.NOBODY.

    """

    now: float
    images: Pixels
    answers: Answers
    callers: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.images)
