"""What a JPEG's headers say (ITU-T T.81, annex B), and its pixels."""

import re
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from holdfast.errors import ImageError
from holdfast.model.images.orientation import EXIF

START, END = b"\xff\xd8", b"\xff\xd9"
START_OF_SCAN = 0xDA
SCAN = bytes((0xFF, START_OF_SCAN))
XMP = b"http://ns.adobe.com/xap/1.0/\0"
LENGTHLESS = {0x00, 0x01, *range(0xD0, 0xDA)}  # no marker, TEM, RST0 to RST7, SOI, EOI
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # DHT, JPG, DAC lie among SOF0 to SOF15
SKIPPED = {0xFE, *range(0xE1, 0xF0)} - {0xEE}  # comments and applications', but for JFIF's, and Adobe's, which tells colours
PROGRESSIVE, ARITHMETIC, LOSSLESS = {0xC2, 0xC6, 0xCA, 0xCE}, {0xC9, 0xCA}, {0xC3, 0xC7, 0xCB, 0xCF}
CODES = bytes.fromhex("b52c96d35a3369ca") * 32  # of some pixels, whatever the tables; none is a marker
MODES = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}
"""Pillow's names of pixels as they are kept and as they come, by components. Print comes inverted, as Adobe writes it."""

MOST_SEGMENTS, BYTES_A_SEGMENT = 256, 16_384
"""So many may stand before the picture, and one more for so many bytes. Profiles and extended XMP take one for every 64 KiB."""

MOST_EXIF_BYTES = 2**17
"""Of several segments together, that are kept: what is looked for stands near the begin."""

MOST_SCANS = 64
"""Of one picture; each costs a pass over all of it. Encoders write about ten."""

_FILL = re.compile(rb"\xff{1,1024}")


@dataclass(slots=True)
class JpegHeader:
    """A JPEG as its headers describe it.

    Attributes:
        frame: the marker's second byte, 0xC0 to 0xCF: which process codes it.
        width, height: in pixels.
        components: of a pixel: 1 of grey, 3 of colour, 4 of print.
        samples: of all components for one pixel: 1.5 of colour where both differences have half the width and height.
        buffered: the decoder has to hold the coefficients of the whole picture, since it comes in several scans.
        segments: before the first scan's data.
        scan: where the first scan's data begins, in bytes from the start.
        kept: the segments that pixels depend on, [start, stop) each, up to the first scan's data.
        exif, xmp: that say which way up it is.

    """

    frame: int = 0
    width: int = 0
    height: int = 0
    components: int = 0
    samples: float = 0.0
    buffered: bool = False
    segments: int = 0
    scan: int = 0
    kept: list[tuple[int, int]] = field(default_factory=list)
    exif: bytes = b""
    xmp: bytes = b""


def read_header(encoded: bytes) -> JpegHeader:
    """Walk the segments from the start to the first scan.

    Raises:
        ImageError: they do not lead there, describe pixels that there are none of, or are very many.

    """
    header, position = JpegHeader(), 2
    most = MOST_SEGMENTS + len(encoded) // BYTES_A_SEGMENT
    for header.segments in range(1, most + 1):
        start = encoded.find(b"\xff", position)  # what else stands between segments is passed over
        if start < 0 or start + 4 > len(encoded):
            break
        marker = encoded[start + 1]
        if marker == 0xFF and (fill := _FILL.match(encoded, start)) is not None:
            position = fill.end() - 1
            continue
        if marker in LENGTHLESS:
            position = start + 2
            continue
        stop = start + 2 + (encoded[start + 2] << 8 | encoded[start + 3])
        if stop > len(encoded) or stop < start + 4:
            break
        _take(header, marker, encoded, start, stop)
        if marker == START_OF_SCAN:
            _check(header)
            header.buffered |= encoded[start + 4 : start + 5] != bytes((header.components,))
            header.scan = stop
            return header
        position = stop
    else:
        raise ImageError("encoded", f"is a JPEG of more than {most} segments before its picture")
    raise ImageError("encoded", "cannot be decoded: the JPEG's headers lead to no picture")


def _take(header: JpegHeader, marker: int, encoded: bytes, start: int, stop: int) -> None:
    """Note what one segment says."""
    if marker not in SKIPPED:
        header.kept.append((start, stop))
    elif marker == 0xE1:
        if encoded.startswith(EXIF, start + 4):
            if len(header.exif) < MOST_EXIF_BYTES:
                header.exif += encoded[start + 4 + len(EXIF) * bool(header.exif) : stop]
        elif encoded.startswith(XMP, start + 4):
            header.xmp = encoded[start + 4 + len(XMP) : stop]
    if marker not in FRAMES or header.frame or stop < start + 10:
        return
    if encoded[start + 4] != 8:
        raise ImageError("encoded", f"cannot be decoded: a JPEG of {encoded[start + 4]} bits; only 8 are taken")
    header.frame, header.buffered = marker, marker in PROGRESSIVE
    header.height, header.width = (int.from_bytes(encoded[start + i : start + i + 2]) for i in (5, 7))
    header.components = encoded[start + 9]
    factors = [(each >> 4, each & 15) for each in encoded[start + 11 : stop : 3]] or [(1, 1)]
    across, down = zip(*factors, strict=True)
    header.samples = sum([x * y for x, y in factors]) / max(1, max(across) * max(down))


def _check(header: JpegHeader) -> None:
    if not header.frame or not header.width or not header.height:
        raise ImageError("encoded", "cannot be decoded: the JPEG's headers state no size")
    if header.components not in MODES:
        raise ImageError("encoded", f"cannot be decoded: a JPEG of {header.components} components; 1, 3 or 4 are taken")


def count_scans(encoded: bytes, header: JpegHeader, most_bytes: int | None = None) -> int:
    """How many scans the picture comes in; of a long file the first `most_bytes` are looked at."""
    stop = len(encoded) if most_bytes is None else min(len(encoded), header.scan + most_bytes)
    end = encoded.find(END, header.scan, stop)
    return 1 + encoded.count(SCAN, header.scan, end if end > 0 else stop)


def decode(encoded: bytes, header: JpegHeader, least: tuple[int, int]) -> Image.Image:
    """Decode the picture at a half, a quarter or an eighth of its size, as far as `least` (width, height) allows.

    A JPEG without its end marker is taken if nothing of the picture is missing. A decoder does not say what it made up, so
    different bytes are put in the place of what may be missing: pictures that differ are not whole.

    Raises whatever Pillow raises where it is damaged, and ImageError where it is cut short or comes in very many scans.
    """
    scans = count_scans(encoded, header)
    if scans > MOST_SCANS:
        raise ImageError("encoded", f"is a JPEG in {scans} scans; the limit is {MOST_SCANS}")
    whole = _without_metadata(encoded, header)
    scan = header.scan - (len(encoded) - len(whole))
    if whole.find(END, scan) >= 0:  # in a scan's data 0xFF is never followed by 0xD9
        return _decode(whole, header, least)
    body = whole.rstrip(b"\xff")
    picture = _decode(body + END, header, least)
    if not _has_all_scans(body, header, scan) or not np.array_equal(
        np.asarray(picture), np.asarray(_decode(body + _filler(body) + END, header, least))
    ):
        raise ImageError("encoded", "cannot be decoded: the JPEG is truncated")
    return picture


def least_size(header: JpegHeader, size: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """Return the least (width, height) at which it is decoded for an input of `size` (height, width): twice that.

    One of more than `max_pixels` is decoded at half its size or less.
    """
    width, height = 2 * size[1], 2 * size[0]
    if header.width * header.height > max_pixels:
        width, height = min(width, header.width // 2), min(height, header.height // 2)
    return max(1, width), max(1, height)


def fraction(header: JpegHeader, least: tuple[int, int]) -> int:
    """Return 8, 4, 2 or 1: so many times smaller it is decoded, which costs so much less, and is no less than `least`."""
    if header.frame in LOSSLESS:
        return 1
    most = min(header.width // least[0], header.height // least[1])
    return next((each for each in (8, 4, 2) if most >= each), 1)


def _decode(whole: bytes, header: JpegHeader, least: tuple[int, int]) -> Image.Image:
    (mode, stored), part = MODES[header.components], fraction(header, least)
    size = (-(-header.width // part), -(-header.height // part))
    return Image.frombytes(mode, size, whole, "jpeg", stored, "", part, 0)


def _without_metadata(encoded: bytes, header: JpegHeader) -> bytes:
    """The same picture without comments, profiles and the like before its first scan. Few bytes are looked at twice."""
    if header.kept[0][0] == 2 and sum(stop - start for start, stop in header.kept) == header.scan - 2:
        return encoded
    return b"".join([START, *(encoded[start:stop] for start, stop in header.kept), encoded[header.scan :]])


def _has_all_scans(whole: bytes, header: JpegHeader, scan: int) -> bool:
    """Whether every coefficient of every component is coded to its last bit, going by the scans' headers."""
    missing: dict[int, set[int]] = {}
    position = whole.rfind(SCAN, 0, scan)
    while position >= 0:
        parameters = whole[position + 4 : position + 2 + int.from_bytes(whole[position + 2 : position + 4])]
        count = parameters[0] if parameters else 0
        if len(parameters) != 4 + 2 * count:
            return False
        first, last, precision = parameters[-3:]
        for component in parameters[1 : 1 + 2 * count : 2]:
            coded = set(range(first, last + 1)) if precision & 0x0F == 0 else set()
            missing[component] = missing.get(component, set(range(64))) - coded
        position = whole.find(SCAN, position + 2)
    return len(missing) == header.components and not any(missing.values())


def _filler(whole: bytes) -> bytes:
    """Bytes to stand for what may be missing at the end: codes of pixels, and again after the restart marker due."""
    last = max((whole.rfind(bytes((0xFF, marker))), marker) for marker in range(0xD0, 0xD8))
    within_scan = last[0] > whole.rfind(SCAN)
    due = 0xD0 + (last[1] + 1) % 8 if within_scan else 0xD0
    return CODES + bytes((0xFF, due)) + CODES
