"""From decoded pixels of any size to those of the encoder's input."""

from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from holdfast.errors import ImageError
from holdfast.model.images.pixels import Pixels

Resample = Literal["bilinear", "bicubic", "lanczos"]

FILTERS: dict[Resample, tuple[Image.Resampling, int]] = {
    "bilinear": (Image.Resampling.BILINEAR, 1),
    "bicubic": (Image.Resampling.BICUBIC, 2),
    "lanczos": (Image.Resampling.LANCZOS, 3),
}
"""Pillow's filter, and over how many pixels of the smaller picture it reaches to either side."""

MOST_BETWEEN = 2**24
"""Pixels between the two passes of a resize, where Pillow's order, width first, would need more: then height is first."""

Box = tuple[float, float, float, float]


class Fitting(NamedTuple):
    """How a picture of any size becomes the encoder's input.

    Attributes:
        height, width: of the input.
        resample: the filter; it widens where a picture shrinks, so nothing aliases.
        shortest: what the shorter side is resized to before the middle is cropped; None: the picture is resized as it is, and a
            long one is squeezed.

    """

    height: int
    width: int
    resample: Resample = "bilinear"
    shortest: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def whole(self) -> tuple[int, int]:
        """The least (height, width) of the whole picture, before a crop."""
        return self.size if self.shortest is None else (self.shortest, self.shortest)

    def box(self, height: int, width: int) -> Box:
        """What is seen of a picture of these sides: left, upper, right and lower edge, in its pixels.

        The longer side is resized to a whole number of pixels, rounded down, and a crop begins at a whole pixel.
        """
        if self.shortest is None:
            return 0.0, 0.0, float(width), float(height)
        side = min(height, width)
        rows, columns = self.shortest * height // side, self.shortest * width // side
        top, left = (rows - self.height) // 2, (columns - self.width) // 2
        down, across = height / rows, width / columns
        return left * across, top * down, (left + self.width) * across, (top + self.height) * down


def fit(image: Pixels, fitting: Fitting) -> Pixels:
    """Resize to (height, width) by the filter that is named, and crop where that is asked for.

    Args:
        image: uint8 [h, w], [h, w, 1] or [h, w, 3], grey or RGB, each side at least 1.
        fitting: what the encoder takes.

    Returns:
        uint8 [height, width, 3]. An image of that size is returned as it is: what was fitted once is not cropped again.

    Raises:
        ImageError: with field "shape" or "dtype".

    """
    if image.dtype != np.uint8:
        raise ImageError("dtype", f"is {image.dtype}; only uint8 is taken")
    if image.shape == (*fitting.size, 3):
        return image
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in {2, 3} or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise ImageError("shape", f"is {list(image.shape)}; send [h, w], [h, w, 1] or [h, w, 3] with sides of 1 or more")
    if image.ndim == 2:
        image = np.repeat(image[:, :, np.newaxis], 3, axis=2)
    if image.shape == (*fitting.size, 3):
        return image
    return np.asarray(_resize(Image.fromarray(image), fitting))


def _resize(image: Image.Image, fitting: Fitting) -> Image.Image:
    """Both passes. An image that is a million times as tall as wide would be made wide first, and take gigabytes.

    Only what is seen is computed, from all pixels that the filter reaches: as if all were resized and then cropped.
    """
    kind = FILTERS[fitting.resample][0]
    left, upper, right, lower = fitting.box(image.height, image.width)
    if image.height * fitting.width > MOST_BETWEEN and fitting.height < image.height:
        image = image.resize((image.width, fitting.height), kind, (0, upper, image.width, lower))
        upper, lower = 0, image.height
    return image.resize((fitting.width, fitting.height), kind, (left, upper, right, lower))
