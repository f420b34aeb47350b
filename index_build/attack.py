"""Attacked images: held-out ones, to choose a vote by more than its clean accuracy, and exemplars, to harden an index."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import Pixels
from holdfast.model.surrogate import SoftKNN

Floats = NDArray[np.float32]

STEPS = 20
AT_ONCE = 100
TINY = 1e-12


def attack(
    bundle: Bundle,
    images: Pixels,
    labels: NDArray[np.int64],
    surrogate: SoftKNN,
    threat: ThreatModel,
    *,
    steps: int = STEPS,
    advance: Callable[[int], None],
) -> Pixels:
    """PGD (arXiv 1706.06083) down the soft-kNN margin of the true class, from the image itself.

    Enough to tell votes apart, and far from a measurement of robustness: that is python -m holdfast.evaluation.

    Args:
        bundle: has the encoder and its gradient.
        images: uint8 [N, H, W, 3].
        labels: int64 [N], their true classes.
        surrogate: what is descended in the place of the vote.
        threat: the ball to stay in.
        steps: gradients.
        advance: called with the number of images after each gradient step on them.

    Returns:
        uint8 [N, H, W, 3], inside the ball up to the rounding to whole grey levels.

    """
    parts = []
    for start in range(0, len(images), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        clean = images[rows].astype(np.float32) / np.float32(255)
        current = clean
        for _ in range(steps):
            embeddings = bundle.encoder.embed(_grey_levels(current))
            _, cotangents = surrogate.margin_gradient(embeddings, labels[rows])
            slopes = bundle.gradient.vjp(current, cotangents)
            current = _project(current - _steepest(slopes, threat, steps), clean, threat)
            advance(len(clean))
        parts.append(_grey_levels(current))
    return np.concatenate(parts)


def embedded(bundle: Bundle, images: Pixels, batch_size: int = 256) -> Floats:
    """Embeddings of any number of images, `batch_size` at once. Shape: uint8 [N, H, W, 3] -> float32 [N, D]."""
    parts = [bundle.encoder.embed(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    return np.concatenate([np.zeros((0, bundle.encoder.dim), np.float32), *parts])


def _steepest(slopes: Floats, threat: ThreatModel, steps: int) -> Floats:
    """The move that follows the slopes best; all of them together could cross the ball and return."""
    directions = np.sign(slopes) if threat.norm == "linf" else slopes / np.maximum(_lengths(slopes), TINY)
    moves: Floats = (2.5 * threat.epsilon / steps * directions).astype(np.float32)
    return moves


def _project(pixels: Floats, clean: Floats, threat: ThreatModel) -> Floats:
    moved = pixels - clean
    if threat.norm == "linf":
        inside = np.clip(moved, -threat.epsilon, threat.epsilon)
    else:
        inside = moved * np.minimum(1, threat.epsilon / np.maximum(_lengths(moved), TINY))
    projected: Floats = np.clip(clean + inside, 0, 1).astype(np.float32)
    return projected


def _lengths(batch: Floats) -> Floats:
    lengths: Floats = np.sqrt((batch**2).sum(axis=(1, 2, 3), keepdims=True))
    return lengths


def _grey_levels(pixels: Floats) -> Pixels:
    levels: Pixels = np.rint(pixels * 255).astype(np.uint8)
    return levels
