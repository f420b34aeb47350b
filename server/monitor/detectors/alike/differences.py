"""What the difference between two images is like: motion and light explain it, or they do not.

Frames of a film, crops and thumbnails of one picture differ by what optical flow describes: where the picture has no edges they
hardly differ, and where it has, all pixels of a neighbourhood moved alike. The steps of an attack are independent of the edges.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.model.preprocess import Pixels

TILE = 8
"""Pixels along a side of a neighbourhood that moves alike."""

LEVELS = (1, 2, 4)
"""By how much images are shrunk before they are compared: at 4, motion of several pixels is one of a part of a pixel."""

FLAT = 1.0
"""Squared grey levels: keeps the motion of a neighbourhood without edges at nothing."""

Grey = NDArray[np.float32]


class ImageChange(NamedTuple):
    """Of two images.

    Attributes:
        rms: root of the mean square, in grey levels of [0, 255]; 0 for identical images.
        explained: share of it that motion and light explain, in [0, 1]; 1 for identical images.

    """

    rms: float
    explained: float


def change_between(one: Pixels, other: Pixels) -> ImageChange:
    """Of two images uint8 [H, W, C] of one shape, each side of at least `TILE` pixels."""
    change = one.astype(np.int16) - other
    square = float(np.vdot(change, change.astype(np.float32))) / change.size
    if square == 0:
        return ImageChange(0.0, 1.0)
    first, second = (image.mean(axis=2, dtype=np.float32) for image in (one, other))
    explained = 0.0
    for level in LEVELS:
        if min(first.shape) >= level * TILE:
            energy, left = _remaining(_shrunk(first, level), _shrunk(second, level))
            if energy >= FLAT:
                explained = max(explained, 1 - left / energy)
    return ImageChange(square**0.5, min(explained, 1.0))


def _shrunk(image: Grey, by: int) -> Grey:
    """Means of squares of `by` pixels. Shape: [H, W] -> [H // by, W // by]."""
    if by == 1:
        return image
    height, width = (side // by for side in image.shape)
    shrunk: Grey = image[: height * by, : width * by].reshape(height, by, width, by).mean(axis=(1, 3))
    return shrunk


def _remaining(first: Grey, second: Grey) -> tuple[float, float]:
    """The change's energy, and what light (of the whole) and flow (of each tile) leave of it."""
    middle: Grey = (first + second) * np.float32(0.5)
    change: Grey = first - second
    down, across = _slopes(middle)
    a, b, c = _by_tile(down * down) + FLAT, _by_tile(across * across) + FLAT, _by_tile(down * across)

    def left(change: Grey) -> float:
        # The least squares of two unknowns in each tile, solved at once; what they take from the energy is (p, q) . solution.
        p, q = _by_tile(down * change), _by_tile(across * change)
        taken = (b * p * p - 2 * c * p * q + a * q * q) / (a * b - c * c)
        return max(0.0, float(np.vdot(change, change)) - float(taken.sum()))

    # Light is taken off first, and may take what flow explains better: both leave no more than flow alone.
    return float(np.vdot(change, change)), min(left(_without_light(change, middle)), left(change))


def _slopes(image: Grey) -> tuple[Grey, Grey]:
    """Half the difference of the two pixels beside each, downwards and to the right; 0 at the edges."""
    down, across = np.zeros_like(image), np.zeros_like(image)
    np.subtract(image[2:], image[:-2], out=down[1:-1])
    np.subtract(image[:, 2:], image[:, :-2], out=across[:, 1:-1])
    down *= 0.5
    across *= 0.5
    return down, across


def _without_light(change: Grey, middle: Grey) -> Grey:
    """The change less what brightness and contrast of the whole image make of it."""
    centred = middle - middle.mean()
    contrast = float(np.vdot(change, centred)) / (float(np.vdot(centred, centred)) + FLAT)
    left: Grey = change - change.mean() - contrast * centred
    return left


def _by_tile(values: Grey) -> Grey:
    """Sums of each tile; the rest at the edges belongs to no tile. Shape: [H, W] -> [H // TILE, W // TILE]."""
    height, width = (side // TILE for side in values.shape)
    sums: Grey = values[: height * TILE, : width * TILE].reshape(height, TILE, width, TILE).sum(axis=(1, 3))
    return sums
