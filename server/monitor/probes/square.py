"""Square attack (Andriushchenko et al., arXiv 1912.00049) in numpy: no gradient, only the soft margin of each candidate.

It finds what a gradient that is masked hides, and asks the encoder only what a client could ask.
"""

import math

import numpy as np
from numpy.typing import NDArray

from holdfast.model.preprocess import Pixels
from holdfast.server.monitor.probes.attack import ProbeTarget, Search

FIRST_PART = 0.3
"""Share of the image that the first squares change."""

HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10,000 queries, those after which the share is halved."""


def square(target: ProbeTarget, rng: np.random.Generator) -> Search:
    """Stripes at the rim of the ball, then squares of random colours there, each kept where it lowers the label's margin."""
    height, width, colours = target.image.shape
    clean, rim, label = target.image.astype(np.int16), (-target.radius, target.radius), np.array([target.label])
    best = _clipped(clean + rng.choice(rim, (1, width, colours)))
    embedding = yield best
    lowest = target.surrogate.margin(embedding[np.newaxis], label)[0]
    for query in range(1, target.queries):
        side = _side(query / target.queries, height, width)
        row, column = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        place = slice(row, row + side), slice(column, column + side)
        candidate = best.copy()
        candidate[place] = _clipped(clean[place] + rng.choice(rim, colours))
        embedding = yield candidate
        margin = target.surrogate.margin(embedding[np.newaxis], label)[0]
        if margin < lowest:
            best, lowest = candidate, margin


def _side(part: float, height: int, width: int) -> int:
    """Of a square, after so large a part of the queries."""
    share = FIRST_PART * 0.5 ** sum(part * 10_000 > query for query in HALVED_AT)
    return min(max(1, round(math.sqrt(share * height * width))), height, width)


def _clipped(pixels: NDArray[np.signedinteger]) -> Pixels:
    clipped: Pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return clipped
