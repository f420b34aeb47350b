"""What a WebP's header says (RFC 9649), and its pixels, which libwebp decodes."""

import io
from dataclasses import dataclass

from PIL import Image

from holdfast.errors import ImageError

SIZED = 30
"""Bytes from the start in which every kind states its size."""

CHUNKS_SOUGHT = 8
"""In which a picture is looked for, behind profiles and the like."""


@dataclass(slots=True)
class WebpHeader:
    """A WebP as its header describes it: the canvas, whether it has any alpha, and whether it is one picture without loss."""

    width: int
    height: int
    alpha: bool
    lossless: bool


def is_webp(encoded: bytes) -> bool:
    """Whether it begins as a WebP does."""
    return encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP"


def read_header(encoded: bytes) -> WebpHeader:
    """Read the size of the canvas.

    Raises:
        ImageError: there is none.

    """
    kind, body = encoded[12:16], encoded[20:SIZED]
    if kind == b"VP8 " and len(body) == 10 and body[3:6] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(body[i : i + 2], "little") & 0x3FFF for i in (6, 8))
        header = WebpHeader(width, height, alpha=False, lossless=False)
    elif kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        header = WebpHeader((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, alpha=bool(bits >> 28 & 1), lossless=True)
    elif kind == b"VP8X" and len(body) == 10:
        width, height = (int.from_bytes(body[i : i + 3], "little") + 1 for i in (4, 7))
        header = WebpHeader(width, height, alpha=bool(body[0] & 0x10), lossless=_holds_lossless(encoded))
    else:
        raise ImageError("encoded", "cannot be decoded: the WebP's header states no size")
    if not header.width or not header.height:
        raise ImageError("encoded", "cannot be decoded: the WebP has no pixels")
    return header


def _holds_lossless(encoded: bytes) -> bool:
    """Whether the first picture among the first chunks is one without loss."""
    position = 12
    for _ in range(CHUNKS_SOUGHT):
        kind = encoded[position : position + 4]
        if kind in {b"VP8L", b"VP8 ", b"ANMF", b""}:
            return kind == b"VP8L"
        length = int.from_bytes(encoded[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    return False


def decode(encoded: bytes) -> tuple[Image.Image, bytes, bytes]:
    """Decode the first frame. Returns it with EXIF and XMP.

    Raises whatever Pillow raises where it is damaged.
    """
    with Image.open(io.BytesIO(encoded), formats=("WEBP",)) as image:
        image.load()
        return image, image.info.get("exif", b""), image.info.get("xmp", b"")
