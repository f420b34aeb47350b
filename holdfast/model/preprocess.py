"""From an encoded image to the encoder's input: the one place where it is done, for training, evaluation and serving.

What reaches the encoder is always uint8 [H, W, 3]; scaling to [0, 1] and normalisation are inside the encoder's graph.
"""

import io
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from holdfast.errors import ImageError
from holdfast.model import jpeg, png

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 16_777_216
"""The limit of every program's --max-pixels where nothing else is said. A JPEG may have four times as many."""

MAX_SCANS = 64
"""Of a progressive JPEG. Encoders write about ten."""

GREY_SCALES = {"L;2": 85, "L;4": 17}
ORIENTATION = ExifTags.Base.Orientation
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Pixels = NDArray[np.uint8]

# Pillow warns about odd metadata and large images. The pixels are what counts, and the limit on them is ours. Set once, for
# the process: warnings.catch_warnings is not safe among threads that decode.
warnings.filterwarnings("ignore", module=r"PIL\.")
Image.MAX_IMAGE_PIXELS = None


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
    orientation is applied where it can be read; other metadata is passed over, whatever is wrong with it. Transparent pixels
    are laid on white; grey, palette, CMYK and 16-bit images become RGB. Of an animation the first frame is taken. A JPEG
    without its end marker is taken if the whole picture is there.

    Args:
        encoded: the file's bytes.
        contract: the encoder's input contract.
        max_pixels: the largest width x height that is decoded. A JPEG that has more is decoded at a half, a quarter or an
            eighth of its size, up to `jpeg_limit`.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ImageError: with field "encoded", for anything that is not a whole image of these formats.

    """
    if not encoded:
        raise ImageError("encoded", "is empty; send the bytes of a PNG, JPEG or WebP file")
    try:
        return fit(_whole(encoded, contract, max_pixels), contract)
    except _UndecodableError as damage:
        bare = jpeg.without_metadata(encoded) if encoded[:2] == jpeg.START else png.without_metadata(encoded)
        if len(bare) == len(encoded):
            raise
        try:
            return fit(_whole(bare, contract, max_pixels), contract)
        except _UndecodableError:
            raise damage from None


def jpeg_limit(max_pixels: int, *, buffered: bool) -> int:
    """Return the most pixels of a JPEG where other images may have `max_pixels`.

    It is decoded at half the size at most, in as much memory. One in several scans (progressive) is decoded from the
    coefficients of the whole picture, up to six bytes a pixel, so it may have less.
    """
    return max_pixels * (2 if buffered else 4)


class _UndecodableError(ImageError):
    """Damage, of the pixels or only of what stands beside them."""


def _whole(encoded: bytes, contract: InputContract, max_pixels: int) -> Pixels:
    """uint8 [h, w, 3] of any size, or ImageError.

    A JPEG without its end marker is whole if nothing of the picture is missing. A decoder does not say what it made up, so
    different bytes are put in the place of what may be missing: pictures that differ are not whole.
    """
    header = jpeg.read_header(encoded) if encoded[:2] == jpeg.START else None
    if header is not None and header.buffered and (scans := jpeg.count_scans(encoded, header)) > MAX_SCANS:
        raise ImageError("encoded", f"is a JPEG in {scans} scans; the limit is {MAX_SCANS}")
    if header is None or not jpeg.lacks_end(encoded, header):
        return _decode(encoded, header, contract, max_pixels)
    body = encoded.rstrip(b"\xff")
    picture = _decode(body + jpeg.END, header, contract, max_pixels)
    if not jpeg.has_all_scans(body, header) or not np.array_equal(
        picture, _decode(body + jpeg.filler(body) + jpeg.END, header, contract, max_pixels)
    ):
        raise _UndecodableError("encoded", "cannot be decoded: the JPEG is truncated")
    return picture


def _decode(encoded: bytes, header: jpeg.JpegHeader | None, contract: InputContract, max_pixels: int) -> Pixels:
    """uint8 [h, w, 3] of any size, or ImageError."""
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            width, height = image.size
            limit = jpeg_limit(max_pixels, buffered=header.buffered) if header else max_pixels
            if width * height > limit:
                raise ImageError("encoded", f"has {width}x{height} pixels; the limit is {limit} in all")  # noqa: TRY301
            # A JPEG can be decoded at a fraction of its size for a fraction of the price.
            least = (2 * contract.width, 2 * contract.height)
            if width * height > max_pixels:
                least = (min(least[0], width // 2), min(least[1], height // 2))
            image.draft("RGB", least)
            return np.asarray(_to_rgb(image))
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise _UndecodableError("encoded", "is not a PNG, JPEG or WebP image") from None
    # Damaged files make Pillow raise its own errors, and whatever its readers of metadata run into: struct.error, TypeError,
    # AttributeError, IndexError and more. None of them may be a failure of the program.
    except Exception as e:  # noqa: BLE001
        raise _UndecodableError("encoded", f"cannot be decoded: {e or type(e).__name__}") from None


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
    clear = _clear_colour(image)  # before the pixels are read, after which Pillow has forgotten how they were stored
    image.load()
    upright = _upright(image)
    if upright.mode.startswith("I"):
        deep = np.asarray(upright, dtype=np.uint32)
        scaled = np.minimum(deep // 257, 255).astype(np.uint8)
        return Image.fromarray(scaled if clear is None else np.where(deep == clear, np.uint8(255), scaled)).convert("RGB")
    if clear is not None:
        upright.info["transparency"] = clear
    if "A" in upright.getbands() or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return upright.convert("RGB")


def _clear_colour(image: Image.Image) -> int | tuple[int, ...] | None:
    """Return the one colour that a PNG declares transparent, in the values of its decoded pixels; None if there is none.

    The file states it as its samples are stored, at 1 to 16 bits; Pillow scales the samples alone.
    """
    declared = image.info.get("transparency")
    stored = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else None
    if isinstance(declared, int) and stored in GREY_SCALES:
        return declared * GREY_SCALES[stored]
    if isinstance(declared, tuple) and stored == "RGB;16B":
        return tuple(value >> 8 for value in declared)
    return declared if isinstance(declared, (int, tuple)) and image.mode != "P" else None


def _upright(image: Image.Image) -> Image.Image:
    """Apply the orientation that the camera recorded, where it can be read. All other metadata is left alone."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # noqa: BLE001 - a broken tag raises whatever its parser runs into, and the pixels are there
        return image
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)
