"""Images as they stand in a report: PNG files in base64."""

import base64
import io

import numpy as np
from PIL import Image

from holdfast.model.preprocess import Pixels

GREY = 128


def png(image: Pixels) -> str:
    """A PNG file in base64 of a uint8 [H, W, 3] image, without loss.

    Raises:
        ValueError: another shape or dtype.

    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image is uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


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
