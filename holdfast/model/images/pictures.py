"""Pictures for people: PNG files, and the difference of two pictures."""

from io import BytesIO

import numpy as np
from PIL import Image

from holdfast.model.images.pixels import Pixels

GREY = 128


def as_png(pixels: Pixels) -> bytes:
    """A picture of uint8 [H, W, C], without loss."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def difference(clean: Pixels, attacked: Pixels) -> Pixels:
    """Attacked less clean, stretched so that the largest change is just white or nearly black; no change is grey.

    Shape: uint8 [H, W, 3] twice -> uint8 [H, W, 3].

    Raises:
        ValueError: the images differ in shape.

    """
    if clean.shape != attacked.shape:
        raise ValueError(f"a difference is of images of one shape, not {list(clean.shape)} and {list(attacked.shape)}")
    moved = attacked.astype(np.float64) - clean
    largest = np.abs(moved).max(initial=0)
    stretched: Pixels = np.rint(GREY + 127 * moved / max(largest, 1)).astype(np.uint8)
    return stretched
