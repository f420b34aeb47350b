"""Attacked images: held-out ones, to choose a vote by more than its clean accuracy, and exemplars, to harden an index."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.numpy_pgd import margin_slopes, numpy_pgd
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import Pixels
from holdfast.model.surrogate import Surrogate

Floats = NDArray[np.float32]

STEPS = 20
AT_ONCE = 100


def attack(
    bundle: Bundle,
    images: Pixels,
    labels: NDArray[np.int64],
    surrogate: Surrogate,
    threat: ThreatModel,
    *,
    steps: int = STEPS,
    advance: Callable[[int], None],
) -> Pixels:
    """PGD down the soft-kNN margin of the true class, from the image itself.

    Enough to tell votes apart, and far from a measurement of robustness: that is holdfast evaluate. All steps
    together could cross the ball and return.

    Args:
        bundle: has the encoder and its gradient.
        images: uint8 [N, H, W, 3].
        labels: int64 [N], their true classes.
        surrogate: what is descended in the place of the vote.
        threat: the ball to stay in.
        steps: gradients.
        advance: called with the number of images after each gradient step on them.

    Returns:
        uint8 [N, H, W, 3], inside the ball.

    """
    parts = [images[:0]]
    for start in range(0, len(images), AT_ONCE):
        part = images[start : start + AT_ONCE]
        slopes = margin_slopes(surrogate, bundle.gradient, labels[start : start + AT_ONCE])
        search = numpy_pgd(part, slopes, threat, steps=steps, step_size=2.5 * threat.epsilon / steps)
        candidates = next(search)
        for _ in range(steps):
            candidates = search.send(bundle.encoder.embed(candidates))
            advance(len(part))
        parts.append(candidates)
    return np.concatenate(parts)


def embedded(bundle: Bundle, images: Pixels, batch_size: int = 256) -> Floats:
    """Embeddings of any number of images, `batch_size` at once. Shape: uint8 [N, H, W, 3] -> float32 [N, D]."""
    parts = [bundle.encoder.embed(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    return np.concatenate([np.zeros((0, bundle.encoder.dim), np.float32), *parts])
