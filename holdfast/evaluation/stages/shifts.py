"""Images that nobody attacked, but that are not as they were: noise, blur, light, contrast, compression, another camera.

Five of the corruptions of Hendrycks and Dietterich (arXiv 1903.12261), of middling strength, so that a report can say how
answers, and what is said of them, fare where traffic is not what the classifier was made for. A camera is none of theirs: a
white balance, a tone curve, a blur and a noise of its own, drawn for each image, and all weaker than those.
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from holdfast.model.preprocess import Pixels

NOISE, CONTRAST, BRIGHTNESS, QUALITY = 0.08, 0.4, 0.25, 15
BLUR = (1, 4, 6, 4, 1)
"""Weights of a binomial filter: about a Gaussian of a standard deviation of one pixel."""

BALANCE, TONE, MOST_BLUR, GRAIN = 0.15, 1.25, 1.0, 0.05
"""Of a camera at most: change of each channel's gain, exponent of its tone curve or one over it, standard deviations of its
blur in pixels and of its noise in the range."""

REACH = 3
"""Pixels on either side that a camera's blur looks at."""

CAMERAS = 3
"""That take each image."""


def noise(images: Pixels, seed: int = 0) -> Pixels:
    """Gaussian, with a standard deviation of .08 of the range. Shape: uint8 [N, H, W, 3], as what comes back."""
    drawn = np.random.default_rng(seed).normal(0, NOISE * 255, images.shape)
    return _levels(images + drawn)


def camera(images: Pixels, seed: int = 0) -> Pixels:
    """Each image as a camera of its own would have taken it. Shapes as in `noise`; `seed` draws the cameras."""
    random, count = np.random.default_rng(seed), len(images)
    balance = random.uniform(1 - BALANCE, 1 + BALANCE, (count, 1, 1, 3))
    tone = np.exp(random.uniform(-np.log(TONE), np.log(TONE), (count, 1, 1, 1)))
    seen = np.clip(images / 255 * balance, 0, 1) ** tone
    deviations, grain = random.uniform(0, MOST_BLUR, count), random.uniform(0, GRAIN, (count, 1, 1, 1))
    offsets = np.arange(-REACH, REACH + 1)
    weights = np.exp(-0.5 * (offsets / np.maximum(deviations, 0.05)[:, np.newaxis]) ** 2)
    seen = _filtered(seen, weights / weights.sum(axis=1, keepdims=True))
    return _levels(255 * (seen + grain * random.normal(size=seen.shape)))


def blur(images: Pixels) -> Pixels:
    """By a binomial filter along both axes, borders repeated. Shapes as in `noise`."""
    weights = np.array(BLUR, dtype=np.float64) / sum(BLUR)
    return _levels(_filtered(images.astype(np.float64), np.broadcast_to(weights, (len(images), len(BLUR)))))


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


def _filtered(images: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each of [N, H, W, 3] by a filter of its own along both axes, [N, 2 r + 1], borders repeated."""
    reach = weights.shape[1] // 2
    for axis in (1, 2):
        padding = [(0, 0)] * 4
        padding[axis] = (reach, reach)
        wide, length = np.pad(images, padding, mode="edge"), images.shape[axis]
        each = weights[:, :, np.newaxis, np.newaxis, np.newaxis]
        images = np.sum([each[:, i] * np.take(wide, range(i, i + length), axis=axis) for i in range(2 * reach + 1)], axis=0)
    return images


def _levels(values: np.ndarray) -> Pixels:
    levels: Pixels = values.round().clip(0, 255).astype(np.uint8)
    return levels


def _compressed(image: Pixels) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
    decoded: Pixels = np.asarray(Image.open(buffer).convert("RGB"))
    return decoded
