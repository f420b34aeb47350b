"""From the bytes of a PNG, JPEG or WebP to RGB pixels."""

import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from holdfast.errors import ImageError
from holdfast.model.images import jpeg, png, webp
from holdfast.model.images.orientation import turn_of

Pixels = NDArray[np.uint8]
Header = png.PngHeader | jpeg.JpegHeader | webp.WebpHeader

# Pillow warns about odd metadata and large images. The pixels are what counts, and the limit on them is ours. Set once, for
# the process: warnings.catch_warnings is not safe among threads that decode.
warnings.filterwarnings("ignore", module=r"PIL\.")
Image.MAX_IMAGE_PIXELS = None


def read_header(encoded: bytes) -> Header:
    """Find out what kind of image it is and what its header says, in bounded time and without decoding a pixel.

    Raises:
        ImageError: with field "encoded": not an image of these formats, or one with damaged or very long headers.

    """
    if encoded[:8] == png.SIGNATURE:
        return png.read_header(encoded)
    if encoded[:2] == jpeg.START:
        return jpeg.read_header(encoded)
    if webp.is_webp(encoded):
        return webp.read_header(encoded)
    if not encoded:
        raise ImageError("encoded", "is empty; send the bytes of a PNG, JPEG or WebP file")
    raise ImageError("encoded", "is not a PNG, JPEG or WebP image")


MOST_SIDE = 65_535
"""Pixels of one side, as of a JPEG. A longer one takes much time and memory to resize, and shows nothing that can be seen."""


def jpeg_limit(max_pixels: int, *, buffered: bool) -> int:
    """Return the most pixels of a JPEG where other images may have `max_pixels`.

    It is decoded at half the size at most, in as much memory. One in several scans (progressive) is decoded from the
    coefficients of the whole picture, up to six bytes a pixel, so it may have less.
    """
    return max_pixels * (2 if buffered else 4)


def check_size(header: Header, max_pixels: int) -> None:
    """Hold the size in the header against the limit.

    Raises:
        ImageError: it is larger.

    """
    if max(header.width, header.height) > MOST_SIDE:
        raise ImageError("encoded", f"has {header.width}x{header.height} pixels; the limit of a side is {MOST_SIDE}")
    limit = max_pixels
    if isinstance(header, jpeg.JpegHeader) and header.frame not in jpeg.LOSSLESS:
        limit = jpeg_limit(max_pixels, buffered=header.buffered)
    if header.width * header.height > limit:
        raise ImageError("encoded", f"has {header.width}x{header.height} pixels; the limit is {limit} in all")


def decode(encoded: bytes, header: Header, size: tuple[int, int], max_pixels: int) -> Pixels:
    """uint8 [h, w, 3] of any size. A JPEG comes at a fraction of its size where twice `size` (height, width) allows.

    Raises:
        ImageError: with field "encoded", for anything that is not a whole image of these formats.

    """
    check_size(header, max_pixels)
    try:
        return _decode(encoded, header, size, max_pixels)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("encoded", "takes more memory to decode than there is") from None
    # Damage makes Pillow and its codecs raise many kinds of errors. None of them may be a failure of the program.
    except Exception as e:  # noqa: BLE001
        raise ImageError("encoded", f"cannot be decoded: {e or type(e).__name__}") from None


def _decode(encoded: bytes, header: Header, size: tuple[int, int], max_pixels: int) -> Pixels:
    clear = None
    if isinstance(header, png.PngHeader):
        if header.is_plain:
            return png.decode_plain(encoded, header)
        clear = png.clear_colour(header)
        image = png.decode(encoded, header)
        exif, xmp = png.written_beside(header)
    elif isinstance(header, jpeg.JpegHeader):
        image = jpeg.decode(encoded, header, jpeg.least_size(header, size, max_pixels))
        exif, xmp = header.exif, header.xmp
    else:
        image, exif, xmp = webp.decode(encoded)
    turn = turn_of(exif, xmp)
    return np.asarray(to_rgb(image if turn is None else image.transpose(turn), clear))


def to_rgb(image: Image.Image, clear: int | tuple[int, ...] | bytes | None = None) -> Image.Image:
    """Any mode to RGB: `clear` and transparent pixels are laid on white, 16-bit grey is scaled to 8 bits.

    Pillow's own conversion would clip 16-bit grey.
    """
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        scaled = (deep // 257).astype(np.uint8)
        return Image.fromarray(scaled if clear is None else np.where(deep == clear, np.uint8(255), scaled)).convert("RGB")
    if clear is not None:
        image.info["transparency"] = clear
    elif image.mode == "RGB":
        return image
    if "A" in image.getbands() or clear is not None:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
