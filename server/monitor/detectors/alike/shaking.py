"""Whether the camera moved from one image to the next, by several pixels and turned: more than the slopes of one image tell."""

import numpy as np
from numpy.typing import NDArray

from holdfast.model.preprocess import Pixels

FURTHEST = 4
"""Pixels by which a camera is looked for, up or down and to either side; an eighth of a side, where that is less."""

TILE = 8
"""Pixels along a side of a part that moves alike, beside the whole."""

FLAT = 1.0
"""Squared grey levels: keeps the motion of a part without edges at nothing."""

Grey = NDArray[np.float32]
Change = NDArray[np.float32]


def explained_by_shaking(image: Pixels, before: Pixels) -> float:
    """Share of the difference of two images uint8 [h, w, C] that one shift of all, and then of each tile, explains.

    Noise of all channels has nothing of it, whether it is smooth or not: at most about .1. It is below 0 where the shift makes
    more than it takes. At 1 the images are identical.
    """
    one, other = image.astype(np.float32), before.astype(np.float32)
    square = float(np.square(one - other).mean())
    if not square:
        return 1.0
    down, across = _shift(one.mean(axis=2), other.mean(axis=2))
    height, width = one.shape[:2]
    rows = slice(max(0, -down), min(height, height - down)), slice(max(0, -across), min(width, width - across))
    shifted = slice(rows[0].start + down, rows[0].stop + down), slice(rows[1].start + across, rows[1].stop + across)
    return 1 - _left(one[rows], other[shifted]) / square


def _shift(one: Grey, other: Grey) -> tuple[int, int]:
    """By how many pixels the other is to be read further down and to the right, so that the middles of both are nearest."""
    height, width = one.shape
    up, left = (min(FURTHEST, side // 8) for side in one.shape)
    middle = one[up : height - up, left : width - left]
    found, least = (0, 0), np.inf
    for down in range(-up, up + 1):
        for across in range(-left, left + 1):
            change = middle - other[up + down : height - up + down, left + across : width - left + across]
            energy = float(np.vdot(change, change))
            if energy < least:
                found, least = (down, across), energy
    return found


def _left(one: Change, other: Change) -> float:
    """Mean square of the difference less what the flow of the brightness of each tile makes of each channel."""
    change: Change = one - other
    middle: Change = (one + other) * np.float32(0.5)
    height, width = (side // TILE * TILE for side in change.shape[:2])
    light, (down, across) = change.mean(axis=2), _slopes(middle.mean(axis=2))
    a, b, c = _by_tile(down * down) + FLAT, _by_tile(across * across) + FLAT, _by_tile(down * across)
    p, q = _by_tile(down * light), _by_tile(across * light)
    flows = ((b * p - c * q) / (a * b - c * c), (a * q - c * p) / (a * b - c * c))
    left = change[:height, :width]
    for flow, slope in zip(flows, _slopes(middle), strict=True):
        of_pixels: Grey = np.kron(flow, np.ones((TILE, TILE))).astype(np.float32)
        left = left - of_pixels[..., None] * slope[:height, :width]
    return float(np.square(left).mean())


def _slopes(image: Change) -> tuple[Change, Change]:
    """Half the difference of the two pixels beside each, downwards and to the right; 0 at the edges. Shape: [h, w, ...]."""
    down, across = np.zeros_like(image), np.zeros_like(image)
    down[1:-1] = (image[2:] - image[:-2]) / 2
    across[:, 1:-1] = (image[:, 2:] - image[:, :-2]) / 2
    return down, across


def _by_tile(values: Grey) -> Grey:
    """Sums of each tile; the rest at the edges belongs to none. Shape: [h, w] -> [h // TILE, w // TILE]."""
    height, width = (side // TILE for side in values.shape)
    whole = values[: height * TILE, : width * TILE].reshape(height, TILE, width, TILE)
    sums: Grey = whole.sum(axis=(1, 3))
    return sums
