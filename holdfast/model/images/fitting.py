"""From decoded pixels of any size to those of the encoder's input."""

import numpy as np
from PIL import Image

from holdfast.errors import ImageError
from holdfast.model.images.pixels import Pixels

MOST_BETWEEN = 2**24
"""Pixels between the two passes of a resize, where Pillow's order, width first, would need more: then height is first."""


def fit(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize to (height, width), bilinear, with an antialiasing filter where it shrinks.

    Args:
        image: uint8 [h, w], [h, w, 1] or [h, w, 3], grey or RGB, each side at least 1.
        size: of the result.

    Returns:
        uint8 [height, width, 3]. An image that fits already is returned as it is.

    Raises:
        ImageError: with field "shape" or "dtype".

    """
    if image.dtype != np.uint8:
        raise ImageError("dtype", f"is {image.dtype}; only uint8 is taken")
    if image.shape == (*size, 3):
        return image
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in {2, 3} or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise ImageError("shape", f"is {list(image.shape)}; send [h, w], [h, w, 1] or [h, w, 3] with sides of 1 or more")
    if image.ndim == 2:
        image = np.repeat(image[:, :, np.newaxis], 3, axis=2)
    if image.shape == (*size, 3):
        return image
    return np.asarray(_resize(Image.fromarray(image), *size))


def _resize(image: Image.Image, height: int, width: int) -> Image.Image:
    """Both passes. An image that is a million times as tall as wide would be made wide first, and take gigabytes."""
    if image.height * width > MOST_BETWEEN and height < image.height:
        image = image.resize((image.width, height), Image.Resampling.BILINEAR)
    return image.resize((width, height), Image.Resampling.BILINEAR)
