"""Whether a scene stands still behind what changes: things go by before it, its light changes, and the camera is noisy.

A search does not leave its first image as it was. Whatever its last step did, most of the image is further from the first one
than that step is wide. Before a camera most of the image only has other noise, however long ago the first frame was.
"""

import numpy as np
from numpy.typing import NDArray

from holdfast.model.preprocess import Pixels
from holdfast.server.monitor.detectors.alike.steps import CELL, energy_of_cells

TILE = 2 * CELL
"""Pixels along a side of a part of the image that is lit alike."""

ROUNDING = 0.3
"""Grey levels, root of the mean square, that rounding makes of nothing."""

FLAT = 1.0
"""Squared grey levels: a part without contrast gets none from light."""

Change = NDArray[np.float32]


def moved_on(image: Pixels, before: Pixels, first: Pixels) -> float:
    """How many times as far an image is from a first one as from the one before it, in the middle one of its cells.

    Light is left out, which may be another one in each channel of each part of the image. So is all that less than half of
    the image shows.

    Args:
        image: uint8 [h, w, C].
        before: the one before it, of the same shape.
        first: likewise.

    """
    step, far = (float(np.median(energy_of_cells(_without_light(image, other)))) for other in (before, first))
    least = ROUNDING * ROUNDING * CELL * CELL * image.shape[2]
    return float(np.sqrt(far / max(step, least)))


def _without_light(image: Pixels, other: Pixels) -> Change:
    """The difference less what brightness and contrast of each tile and channel make of it. Shape: [h, w, C] of whole tiles."""
    height, width = (side // TILE * TILE for side in image.shape[:2])
    one, two = (pixels[:height, :width].astype(np.float32) for pixels in (image, other))
    difference: Change = one - two
    sum_of_both: Change = one + two
    tiles = height // TILE, TILE, width // TILE, TILE, image.shape[2]
    change, middle = _centred(difference.reshape(tiles)), _centred(sum_of_both.reshape(tiles)) * np.float32(0.5)
    contrast = _sums(change * middle) / (_sums(middle * middle) + np.float32(FLAT))
    left: Change = change - contrast * middle
    return left.reshape(height, width, -1)


def _centred(tiles: Change) -> Change:
    centred: Change = tiles - tiles.mean(axis=(1, 3), keepdims=True)
    return centred


def _sums(tiles: Change) -> Change:
    sums: Change = tiles.sum(axis=(1, 3), keepdims=True)
    return sums
