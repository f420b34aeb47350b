"""How an image differs from the one before it, in a row of alike ones: as the steps of a search do, or as frames of a film.

A search asks at a point plus one random direction, then at the same point plus another one. So each step takes back a part of
the one before: the cosine of two steps is about -1/2, and an image is nearer to the point, which the search has found best so
far, than to the image before it. A film goes on the way it went, and its frames have no such middle.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.model.preprocess import Pixels

CELL = 4
"""Pixels along a side of the cells over which a step is spread, or not."""

LOCAL, STRONG = 0.45, 40.0
"""Share of the cells that a step is spread over, and largest change of a value in grey levels: below and above it, something
goes by before a scene that stands still, or a clock counts. The squares of an attack within a ball are weaker."""

WEAK, PARTIAL = 34.0, 0.5
"""Largest change and share of the cells of squares within a ball of 16/255 or less."""

EVERYWHERE = 0.85
"""Share of the cells over which noise is spread, and no picture that moves is."""

Change = NDArray[np.float32]


class ImageStep(NamedTuple):
    """From one image to the next.

    Attributes:
        change: float32 [h, w, C], grey levels.
        square: its mean square.
        cosine: with the step before; 0 where there was none.

    """

    change: Change
    square: float
    cosine: float

    @classmethod
    def between(cls, before: Pixels, image: Pixels, last: "ImageStep | None") -> "ImageStep":
        """The step to an image uint8 [h, w, C] from the one before it, after the step `last`."""
        change = image.astype(np.float32) - before
        square = float(np.vdot(change, change)) / change.size
        if last is None or not square * last.square:
            return cls(change, square, 0.0)
        cosine = float(np.vdot(change, last.change)) / (change.size * (square * last.square) ** 0.5)
        return cls(change, square, cosine)

    @property
    def spread(self) -> float:
        """Over what share of the cells it is spread, in (0, 1]: 1 where all change alike, 1 / n where one of n does."""
        cells = energy_of_cells(self.change)
        whole = float(cells.sum())
        return float(whole * whole / (cells.size * np.vdot(cells, cells))) if whole else 1.0

    @property
    def largest(self) -> float:
        """The largest change of a value, grey levels."""
        return float(np.abs(self.change).max())

    @property
    def is_local(self) -> bool:
        """Whether a small part of the image changed much."""
        return self.largest > STRONG and self.spread < LOCAL

    @property
    def is_weak_and_local(self) -> bool:
        """Whether a part of the image changed, and no more than an attack within a small ball may."""
        return self.largest <= WEAK and self.spread <= PARTIAL

    def overlap(self, other: "ImageStep") -> float:
        """What share of either is where the other is, in [0, 1]: 1 where both change the same cells alike."""
        mine, others = energy_of_cells(self.change), energy_of_cells(other.change)
        most = float(mine.sum()) * float(others.sum())
        return float(np.minimum(mine * others.sum(), others * mine.sum()).sum()) / most if most else 0.0


def energy_of_cells(change: Change) -> Change:
    """Sums of the squares of each cell; the rest at the edges belongs to none. Shape: [h, w, C] -> [h // CELL, w // CELL]."""
    height, width = (side // CELL * CELL for side in change.shape[:2])
    squares = np.square(change[:height, :width]).sum(axis=2)
    energy: Change = squares.reshape(height // CELL, CELL, width // CELL, CELL).sum(axis=(1, 3))
    return energy


def distance(one: Pixels, other: Pixels) -> float:
    """Root of the mean square of the difference of two images of one shape, grey levels."""
    change = one.astype(np.int16) - other
    return sqrt(np.vdot(change, change.astype(np.float32)) / change.size)
