"""Images as they stand in a report: PNG files in base64."""

import base64
import io

import numpy as np
from PIL import Image

from holdfast.model.images.pictures import difference
from holdfast.model.preprocess import Pixels

__all__ = ["difference", "png", "side"]


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


def side(picture: str) -> int:
    """The longer side, in pixels, of what `png` returned."""
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        return max(image.size)
