"""Which of the images that came in nothing is to be learned from: a stream is a door to whoever sends images.

Of images that are nearly the same one is kept: a burst of variants of one picture would otherwise outweigh what others sent.
Images that are farther from their k-th neighbour than all but a few held-out ones are left out: they are unlike what the bundle
knows. Either can be passed by somebody who aims at it, with images that are ordinary and different; what comes of a training is
therefore measured before it is served.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.model.images.sketches import CELLS, RADIUS, Sketcher, Sketches
from holdfast.model.preprocess import Pixels

Flags = NDArray[np.bool_]

OUTLIER_P = 0.01
"""P-value of the distance to the k-th neighbour up to which an image is an outlier: about one in a hundred ordinary ones is."""

AT_ONCE = 256


def outliers(p_values: NDArray[np.float64], held_out: int, outlier_p: float = OUTLIER_P) -> Flags:
    """Which images are unlike what the bundle knows: bool [N].

    Args:
        p_values: float64 [N], of the distances to their k-th neighbours; NaN where that is not calibrated, which is no outlier.
        held_out: images that it is calibrated on. Of fewer than 1 / `outlier_p` no p-value is so small: then those that are
            farther than all of them are outliers.
        outlier_p: the p-value up to which an image is one; at 0 none is.

    """
    found: Flags = p_values <= max(outlier_p, 1 / (held_out + 1))
    return found if outlier_p else np.zeros(len(p_values), np.bool_)


class NearDuplicates:
    """Finds images that are nearly the same as an earlier one, by sketches of both.

    Args:
        shape: (H, W, C) of the images.
        capacity: images that a new one is compared with, the latest different ones; None for all.

    """

    def __init__(self, shape: tuple[int, int, int], capacity: int | None = None) -> None:
        self._sketcher, self._capacity = Sketcher(shape), capacity
        self._kept: Sketches = np.empty((capacity or AT_ONCE, CELLS * CELLS), np.float32)
        self._seen = 0

    def new(self, images: Pixels) -> Flags:
        """Which images, uint8 [N, H, W, C], are like none before: bool [N]. Those are remembered."""
        found = np.zeros(len(images), np.bool_)
        for start in range(0, len(images), AT_ONCE):
            sketches = self._sketcher.sketches(images[start : start + AT_ONCE])
            fresh = self._nearest(sketches) > RADIUS * RADIUS * CELLS * CELLS
            for row in np.flatnonzero(fresh).tolist():
                # Those of this batch that were remembered since.
                mine = np.flatnonzero(found[start : start + row])
                apart = np.square(sketches[mine] - sketches[row]).sum(axis=1)
                found[start + row] = not len(mine) or apart.min() > RADIUS * RADIUS * CELLS * CELLS
            self._remember(sketches[found[start : start + AT_ONCE]])
        return found

    def alike(self, images: Pixels) -> Flags:
        """Which images, uint8 [N, H, W, C], are like one that is remembered: bool [N]. None of them is remembered."""
        parts = [images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE)]
        near = [self._nearest(self._sketcher.sketches(part)) <= RADIUS * RADIUS * CELLS * CELLS for part in parts]
        return np.concatenate(near) if near else np.empty(0, np.bool_)

    def _nearest(self, sketches: Sketches) -> NDArray[np.float32]:
        """Square of the distance to the nearest that is kept: float32 [n]; infinite where there is none."""
        kept = self._kept[: self._seen]
        if not len(kept):
            return np.full(len(sketches), np.inf, np.float32)
        products = sketches @ kept.T
        squares = np.einsum("nd,nd->n", kept, kept)
        nearest: NDArray[np.float32] = np.square(sketches).sum(axis=1) + (squares - 2 * products).min(axis=1)
        return nearest

    def _remember(self, sketches: Sketches) -> None:
        if self._capacity is None and self._seen + len(sketches) > len(self._kept):
            self._kept = np.concatenate([self._kept, np.empty((len(self._kept) + len(sketches), CELLS * CELLS), np.float32)])
        for sketch in sketches:
            self._kept[self._seen % len(self._kept)] = sketch  # where there is a capacity, the place of the oldest
            self._seen += 1


@dataclass(frozen=True, eq=False)
class Screened:
    """Which of M images are kept, and why the others are not.

    Attributes:
        kept: bool [M].
        held_out: how many are nearly the same as an image that credibility is calibrated on, or that is kept to test.
        repeated: how many of the others are nearly the same as an earlier one.
        outliers: how many of the rest are unlike what the bundle knows.

    """

    kept: Flags
    held_out: int
    repeated: int
    outliers: int


def screen(images: Pixels, outlier: Flags, held_out: Pixels) -> Screened:
    """Leave out what must stay unseen, near duplicates, and outliers.

    Args:
        images: uint8 [M, H, W, C], in the order in which they came; M at least 1.
        outlier: bool [M], see `outliers`.
        held_out: uint8 [N, H, W, C], calibration and test images: an encoder that has learned from one cannot be judged by it.

    """
    height, width, channels = images.shape[1:]
    unseen = NearDuplicates((height, width, channels))
    unseen.new(held_out)
    known = unseen.alike(images)
    new = np.zeros(len(images), np.bool_)
    new[~known] = NearDuplicates((height, width, channels)).new(images[~known])
    kept = new & ~outlier
    return Screened(kept, int(known.sum()), int((~known & ~new).sum()), int((new & outlier).sum()))
