"""Images in few numbers: means of large cells, in which noise averages out and the picture stays."""

import numpy as np
from numpy.typing import NDArray

CELLS = 8
"""Cells along a side of a sketch."""

DETAIL = 32
"""Most pixels along a side of what is kept of an image: of larger ones every second, third, ... is."""

MIDDLE = 128.0

RADIUS = 6.0
"""Root of the mean square difference of two sketches, in grey levels, up to which images may be alike. Noise of 16 levels makes
2.4; of 4,000 photographs of CIFAR-10 no two different ones are nearer than 7."""

Pixels = NDArray[np.uint8]
Sketches = NDArray[np.float32]


class Sketcher:
    """Makes sketches of images of one shape.

    Args:
        shape: (H, W, C).

    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        height, width, channels = shape
        self._down = _means(height).T.copy()
        self._across: Sketches = np.repeat(_means(width) / np.float32(channels), channels, axis=0)
        self._step = -(-max(height, width) // DETAIL)

    def sketches(self, images: Pixels) -> Sketches:
        """Mean brightness of each cell, less 128. Shape: uint8 [N, H, W, C] -> float32 [N, CELLS squared]."""
        count, height = images.shape[:2]
        rows = images.reshape(count, height, -1).astype(np.float32) @ self._across
        cells: Sketches = (self._down @ rows).reshape(count, -1)
        cells -= MIDDLE
        return cells

    def details(self, images: Pixels) -> Pixels:
        """At most DETAIL x DETAIL pixels of each, as a view: uint8 [N, h, w, C]."""
        return images[:, :: self._step, :: self._step]


def _means(side: int) -> NDArray[np.float32]:
    """What makes means of cells of a row of so many pixels: float32 [side, CELLS]; cells of small images share pixels."""
    edges = np.linspace(0, side, CELLS + 1)
    pixels = np.arange(side)[:, None]
    covered = np.clip(np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels), 0, None)
    means: NDArray[np.float32] = (covered / covered.sum(axis=0)).astype(np.float32)
    return means
