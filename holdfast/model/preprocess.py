"""From an encoded image to the encoder's input: the one place where it is done, for training, evaluation and serving.

What reaches the encoder is always uint8 [H, W, 3]; scaling to [0, 1] and normalisation are inside the encoder's graph.
"""

import io
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from holdfast.errors import ImageError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 16_777_216

Pixels = NDArray[np.uint8]

# Pillow warns about odd metadata and large images. The pixels are what counts, and the limit on them is ours. Set once, for
# the process: warnings.catch_warnings is not safe among threads that decode.
warnings.filterwarnings("ignore", module=r"PIL\.")


class InputContract(BaseModel):
    """What an encoder takes: a batch of uint8 [N, height, width, channels], RGB, resized by `resample`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    channels: Literal[3] = 3
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    resample: Literal["bilinear"] = "bilinear"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels


def decode_image(encoded: bytes, contract: InputContract, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode PNG, JPEG or WebP bytes and fit them to the contract.

    The size in the header is held against `max_pixels` before a pixel is decoded, so that a bomb costs nothing. EXIF
    orientation is applied; transparent pixels are laid on white; grey, palette, CMYK and 16-bit images become RGB.
    Of an animation the first frame is taken.

    Args:
        encoded: the file's bytes.
        contract: the encoder's input contract.
        max_pixels: the largest width x height that is decoded.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ImageError: with field "encoded", for anything that is not a whole image of these formats.

    """
    if not encoded:
        raise ImageError("encoded", "is empty; send the bytes of a PNG, JPEG or WebP file")
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError("encoded", f"has {width}x{height} pixels; the limit is {max_pixels} in all")
            # A JPEG can be decoded at a fraction of its size for a fraction of the price.
            image.draft("RGB", (2 * contract.width, 2 * contract.height))
            return fit(np.asarray(_to_rgb(image)), contract)
    except UnidentifiedImageError:
        raise ImageError("encoded", "is not a PNG, JPEG or WebP image") from None
    except Image.DecompressionBombError:
        raise ImageError("encoded", f"has far more pixels than the limit of {max_pixels}") from None
    except (OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError) as e:
        # These are what Pillow's decoders raise for damaged files: truncated data, broken chunks, absurd sizes.
        raise ImageError("encoded", f"cannot be decoded: {e}") from None


def fit(image: Pixels, contract: InputContract) -> Pixels:
    """Resize a decoded image to the contract.

    Args:
        image: uint8 [h, w], [h, w, 1] or [h, w, 3], grey or RGB, each side at least 1.
        contract: the encoder's input contract.

    Returns:
        uint8 [height, width, 3]. An image that fits already is returned as it is.

    Raises:
        ImageError: with field "shape" or "dtype".

    """
    if image.dtype != np.uint8:
        raise ImageError("dtype", f"is {image.dtype}; only uint8 is taken")
    if image.shape == contract.shape:
        return image
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in {2, 3} or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise ImageError("shape", f"is {list(image.shape)}; send [h, w], [h, w, 1] or [h, w, 3] with sides of 1 or more")
    if image.ndim == 2:
        image = np.repeat(image[:, :, np.newaxis], 3, axis=2)
    if image.shape == contract.shape:
        return image
    size = (contract.width, contract.height)
    resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB. 16-bit grey is scaled to 8 bits, which Pillow's own conversion would clip."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        scaled = np.asarray(upright, dtype=np.uint32) // 257
        upright = Image.fromarray(np.minimum(scaled, 255).astype(np.uint8))
    if "A" in upright.getbands() or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return upright.convert("RGB")
