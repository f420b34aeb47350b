"""Styles of drawing, by Pillow alone: what domains differ in where there is one set of photographs."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from holdfast.data.labelled import DataError

STYLES = ("photo", "grey", "posterised", "edges", "inverted")
"""The first leaves an image as it is."""

POSTERISED_BITS = 2
"""Bits that are left of each channel."""


def styled(images: NDArray[np.uint8], style: str) -> NDArray[np.uint8]:
    """Images uint8 [N, H, W, 3] in one of STYLES: the same shape and dtype.

    Raises:
        DataError: there is no such style.

    """
    if style not in STYLES:
        raise DataError(f"there is no style {style!r}, but {', '.join(STYLES)}")
    drawn = images.copy()
    for number, image in enumerate(images):
        drawn[number] = np.asarray(_in_style(Image.fromarray(image), style))
    return drawn


def _in_style(image: Image.Image, style: str) -> Image.Image:
    match style:
        case "grey":
            return image.convert("L").convert("RGB")
        case "posterised":
            return ImageOps.posterize(image, POSTERISED_BITS)
        case "edges":
            return image.filter(ImageFilter.FIND_EDGES)
        case "inverted":
            return ImageOps.invert(image)
        case _:
            return image
