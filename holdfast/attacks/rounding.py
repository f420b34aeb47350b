"""Rounding to grey levels inside the ball: the one rule, in numpy, for the torch attacks and for those on a server.

An adversarial example that only exists between two grey levels is none: it must be a uint8 image, and rounding must
not carry it out of the ball.
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import Pixels

Floats = NDArray[np.float64]

SLACK = 1e-6
"""Relative room for the rounding errors of epsilon * 255: 8/255 must allow eight levels, not seven."""


def round_within(pixels: NDArray[np.floating], clean: Pixels, threat: ThreatModel) -> Pixels:
    """The nearest images that still lie within `threat` of `clean`: rounded toward the original where needed.

    Args:
        pixels: float [N, H, W, 3] in [0, 1].
        clean: uint8 [N, H, W, 3], the centres of the balls.
        threat: the norm and the epsilon, in pixels of [0, 1].

    Returns:
        uint8 [N, H, W, 3].

    """
    origin = clean.astype(np.float64)
    moves = pixels.astype(np.float64).clip(0, 1) * 255 - origin
    match threat.norm:
        case "linf":
            levels = _round_linf(moves, threat.epsilon * 255)
        case "l2":
            rows = moves.reshape(len(moves), prod(moves.shape[1:]))
            levels = _round_l2(rows, threat.epsilon * 255).reshape(moves.shape)
    images: Pixels = (origin + levels).astype(np.uint8)
    return images


def _round_linf(moves: Floats, radius: float) -> Floats:
    reach = np.floor(radius * (1 + SLACK))
    rounded: Floats = np.rint(moves).clip(-reach, reach)
    return rounded


def _round_l2(moves: Floats, radius: float) -> Floats:
    """Round each row of [N, d] to integers of length at most `radius`.

    Cutting every fraction off never lengthens a move within the ball. From there the largest fractions are rounded up
    first, for as long as the length allows: |t| -> |t| + 1 costs 2|t| + 1 of the squared length.
    """
    length = np.linalg.norm(moves, axis=1, keepdims=True)
    moves = moves * np.minimum(1, radius / np.maximum(length, 1e-12))
    cut = np.trunc(moves)
    fraction = np.abs(moves - cut)
    order = np.argsort(-fraction, axis=1, kind="stable")
    costs = np.where(fraction >= 0.5, 2 * np.abs(cut) + 1, 0)
    budget = (radius * (1 + SLACK)) ** 2 - (cut**2).sum(1, keepdims=True)
    affordable = np.cumsum(np.take_along_axis(costs, order, 1), axis=1) <= budget
    rounded_up = np.zeros(moves.shape, dtype=bool)
    np.put_along_axis(rounded_up, order, affordable, 1)
    rounded: Floats = cut + np.sign(moves) * (rounded_up & (fraction >= 0.5))
    return rounded
