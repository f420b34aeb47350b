"""Images that nobody attacked, but that are not as they were: noise, blur, light, contrast, compression.

Five of the corruptions of Hendrycks and Dietterich (arXiv 1903.12261), of middling strength, so that a report can say how what
is said of answers fares where traffic is not what the classifier was made for.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from holdfast.model.preprocess import Pixels

NOISE, CONTRAST, BRIGHTNESS, QUALITY = 0.08, 0.4, 0.25, 15
BLUR = (1, 4, 6, 4, 1)
"""Weights of a binomial filter: about a Gaussian of a standard deviation of one pixel."""


def noise(images: Pixels, seed: int = 0) -> Pixels:
    """Gaussian, with a standard deviation of .08 of the range. Shape: uint8 [N, H, W, 3], as what comes back."""
    drawn = np.random.default_rng(seed).normal(0, NOISE * 255, images.shape)
    return _levels(images + drawn)


def blur(images: Pixels) -> Pixels:
    """By a binomial filter along both axes, borders repeated. Shapes as in `noise`."""
    blurred = images.astype(np.float64)
    for axis in (1, 2):
        padding = [(0, 0)] * 4
        padding[axis] = (len(BLUR) // 2, len(BLUR) // 2)
        wide, length = np.pad(blurred, padding, mode="edge"), blurred.shape[axis]
        parts = [weight * np.take(wide, range(i, i + length), axis=axis) for i, weight in enumerate(BLUR)]
        blurred = np.sum(parts, axis=0) / sum(BLUR)
    return _levels(blurred)


def contrast(images: Pixels) -> Pixels:
    """Every value brought nearer to its image's mean, to .4 of the distance. Shapes as in `noise`."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return _levels(mean + CONTRAST * (images - mean))


def brightness(images: Pixels) -> Pixels:
    """A quarter of the range lighter. Shapes as in `noise`."""
    return _levels(images + BRIGHTNESS * 255)


def compression(images: Pixels) -> Pixels:
    """JPEG of quality 15. Shapes as in `noise`."""
    return np.stack([_compressed(image) for image in images]) if len(images) else images.copy()


SHIFTS: tuple[Callable[[Pixels], Pixels], ...] = (noise, blur, contrast, brightness, compression)


def shifted(images: Pixels) -> Pixels:
    """Every image under every corruption, one corruption after the other. Shape: uint8 [N, H, W, 3] -> [5 N, H, W, 3]."""
    return np.concatenate([shift(images) for shift in SHIFTS])


def _levels(values: np.ndarray) -> Pixels:
    levels: Pixels = values.round().clip(0, 255).astype(np.uint8)
    return levels


def _compressed(image: Pixels) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
    decoded: Pixels = np.asarray(Image.open(buffer).convert("RGB"))
    return decoded
