"""Images that nobody attacked, but that are not as they were: noise, blur, light, compression, rotation, crop, another camera.

Five of the corruptions of Hendrycks and Dietterich (arXiv 1903.12261), of middling strength, so that a report can say how
answers, and what is said of them, fare where traffic is not what the classifier was made for. A rotation and a crop are what
people do to pictures. A camera is none of theirs: a
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

ANGLE, KEPT = 15, 0.75
"""Degrees of a rotation; share of each side that a crop keeps."""

PART_VALUES = 2**22
"""Values that are changed at once."""

Numbers = NDArray[np.float64]


def noise(images: Pixels, seed: int = 0) -> Pixels:
    """Gaussian, with a standard deviation of .08 of the range. Shape: uint8 [N, H, W, 3], as what comes back."""
    random = np.random.default_rng(seed)
    return _in_parts(images, lambda part: part + random.normal(0, NOISE * 255, part.shape))


def camera(images: Pixels, seed: int = 0) -> Pixels:
    """Each image as a camera of its own would have taken it. Shapes as in `noise`; `seed` draws the cameras."""
    random, count = np.random.default_rng(seed), len(images)
    balance = random.uniform(1 - BALANCE, 1 + BALANCE, (count, 1, 1, 3))
    tone = np.exp(random.uniform(-np.log(TONE), np.log(TONE), (count, 1, 1, 1)))
    deviations, grain = random.uniform(0, MOST_BLUR, count), random.uniform(0, GRAIN, (count, 1, 1, 1))
    offsets = np.arange(-REACH, REACH + 1)
    weights = np.exp(-0.5 * (offsets / np.maximum(deviations, 0.05)[:, np.newaxis]) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)

    def taken(part: Pixels, balance: Numbers, tone: Numbers, weights: Numbers, grain: Numbers) -> Numbers:
        seen = _filtered(np.clip(part / 255 * balance, 0, 1) ** tone, weights)
        return 255 * (seen + grain * random.normal(size=seen.shape))

    return _in_parts(images, taken, balance, tone, weights, grain)


def blur(images: Pixels) -> Pixels:
    """By a binomial filter along both axes, borders repeated. Shapes as in `noise`."""
    weights = np.array([BLUR], dtype=np.float64) / sum(BLUR)
    return _in_parts(images, lambda part: _filtered(part.astype(np.float64), weights.repeat(len(part), 0)))


def contrast(images: Pixels) -> Pixels:
    """Every value brought nearer to its image's mean, to .4 of the distance. Shapes as in `noise`."""

    def paler(part: Pixels) -> Numbers:
        values = part.astype(np.float64)
        mean: Numbers = values.mean(axis=(1, 2, 3), keepdims=True)
        return mean + CONTRAST * (values - mean)

    return _in_parts(images, paler)


def brightness(images: Pixels) -> Pixels:
    """A quarter of the range lighter. Shapes as in `noise`."""
    return _in_parts(images, lambda part: part + BRIGHTNESS * 255)


def compression(images: Pixels) -> Pixels:
    """JPEG of quality 15. Shapes as in `noise`."""
    return _each(images, _compressed)


def rotation(images: Pixels) -> Pixels:
    """By 15 degrees, against the clock; what comes in at the corners is the image mirrored. Shapes as in `noise`."""
    return _each(images, _rotated)


def crop(images: Pixels) -> Pixels:
    """The middle three quarters of each side, enlarged to the whole. Shapes as in `noise`."""
    return _each(images, _enlarged)


SHIFTS: tuple[Callable[[Pixels], Pixels], ...] = (noise, blur, contrast, brightness, compression)
"""Of the picture's values: under these it is judged what ranks errors."""

MOVES: tuple[Callable[[Pixels], Pixels], ...] = (rotation, crop)
"""Of where things are in the picture."""


def _in_parts(images: Pixels, change: Callable[..., Numbers], *of_each: Numbers) -> Pixels:
    """What `change` makes of images, and of what belongs to each, a few at a time: in float64 all would take much room."""
    moved = np.empty_like(images)
    size = max(1, PART_VALUES // max(1, images[:1].size))
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        moved[part] = change(images[part], *(each[part] for each in of_each)).round().clip(0, 255)
    return moved


def _each(images: Pixels, change: Callable[[Pixels], Pixels]) -> Pixels:
    return np.stack([change(image) for image in images]) if len(images) else images.copy()


def _filtered(images: Numbers, weights: Numbers) -> Numbers:
    """Each of [N, H, W, 3] by a filter of its own along both axes, [N, 2 r + 1], borders repeated."""
    reach = weights.shape[1] // 2
    for axis in (1, 2):
        padding = [(0, 0)] * 4
        padding[axis] = (reach, reach)
        wide, length = np.pad(images, padding, mode="edge"), images.shape[axis]
        each = weights[:, :, np.newaxis, np.newaxis, np.newaxis]
        images = np.sum([each[:, i] * np.take(wide, range(i, i + length), axis=axis) for i in range(2 * reach + 1)], axis=0)
    return images


def _compressed(image: Pixels) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
    decoded: Pixels = np.asarray(Image.open(buffer).convert("RGB"))
    return decoded


def _rotated(image: Pixels) -> Pixels:
    height, width, _ = image.shape
    wide = np.pad(image, ((height, height), (width, width), (0, 0)), mode="symmetric")
    turned = Image.fromarray(wide).rotate(ANGLE, Image.Resampling.BILINEAR)
    return np.asarray(turned.crop((width, height, 2 * width, 2 * height)))


def _enlarged(image: Pixels) -> Pixels:
    height, width, _ = image.shape
    x, y = width * (1 - KEPT) / 2, height * (1 - KEPT) / 2
    whole = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, (x, y, width - x, height - y))
    return np.asarray(whole)
