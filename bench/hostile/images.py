"""Small files that cost much to decode, by name: each is a kind of attack on a decoder.

None of them is damaged in its pixels, so a decoder without limits would take every one of them. Sides are parameters, so that
tests can have the same kinds at a size that costs nothing.
"""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 4096
"""4,096 x 4,096 are the pixels that one image may have by default."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def attacks(side: int = SIDE) -> dict[str, bytes]:
    """Return one file of each kind, by name. `side`: of the square ones, in pixels."""
    return {name: make(side) for name, make in MAKERS.items()}


def chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def flat_png(
    width: int, height: int, *, depth: int = 8, colour: int = 2, interlaced: bool = False, extra: bytes = b""
) -> bytes:
    """A PNG of zeros, of any depth and colour type; `extra` chunks stand before its pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    packed = _zeros(_raw_bytes(width, height, depth, colour, interlaced=interlaced))
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return PNG_SIGNATURE + chunk(b"IHDR", header) + palette + extra + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def saved(pixels: NDArray[np.uint8], kind: str, **options: object) -> bytes:
    """Pixels as a file of that kind."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def flat_jpeg(width: int, height: int, mode: str = "RGB", **options: object) -> bytes:
    """A JPEG of one colour."""
    file = io.BytesIO()
    Image.new(mode, (width, height), 99 if mode == "L" else (99,) * len(mode)).save(file, "JPEG", **options)
    return file.getvalue()


def flat_webp(width: int, height: int) -> bytes:
    """A lossless WebP of one colour: less than 40 bytes, whatever its size."""
    bits = (width - 1) | (height - 1) << 14
    file = io.BytesIO()
    Image.new("RGB", (1, 1), (9, 99, 199)).save(file, "WEBP", lossless=True)
    encoded = bytearray(file.getvalue())
    start = encoded.index(b"VP8L") + 9
    kept = int.from_bytes(encoded[start : start + 4], "little") & 0xF0000000
    encoded[start : start + 4] = (kept | bits).to_bytes(4, "little")
    return bytes(encoded)


def animated_webp(width: int, height: int, frames: int) -> bytes:
    """Frames of one pixel on a large canvas."""
    still = flat_webp(1, 1)
    payload = still[12:]

    def three(number: int) -> bytes:
        return number.to_bytes(3, "little")

    head = b"VP8X" + struct.pack("<I", 10) + bytes((0x12, 0, 0, 0)) + three(width - 1) + three(height - 1)
    anim = b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    frame = bytes(6) + three(0) + three(0) + three(10) + b"\0" + payload
    body = b"WEBP" + head + anim + frames * (b"ANMF" + struct.pack("<I", len(frame)) + frame + bytes(len(frame) % 2))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan is there so many times more."""
    whole = flat_jpeg(side, side, progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + scans * last + whole[-2:]


def padded_jpeg(kind: str, size: int) -> bytes:
    """A small JPEG with so many bytes of nothing before its picture, or within it."""
    small = flat_jpeg(32, 32)
    frame = small.index(b"\xff\xdb")
    filling = {
        "fill bytes": b"\xff" * size,
        "empty comments": b"\xff\xfe\0\2" * (size // 4),
        "long comments": (b"\xff\xfe\xff\xff" + bytes(65533)) * (size // 65537 + 1),
        "profiles": (b"\xff\xe2\0\x12ICC_PROFILE\0\1\1ab") * (size // 20),
        "tables": (b"\xff\xdb\0\x43\0" + bytes(range(1, 65))) * (size // 69),
        "exif": (b"\xff\xe1\0\x0eExif\0\0abcdef") * (size // 16),
    }
    if kind in filling:
        return small[:frame] + filling[kind] + small[frame:]
    within = {"restarts": b"\xff\xd0" * (size // 2), "zeros": bytes(size), "fill at end": b"\xff" * size}[kind]
    return small[:-2] + within + small[-2:]


def text_bomb(kind: bytes, count: int) -> bytes:
    """A small PNG with chunks that each unpack to nearly a megabyte."""
    packed = _zeros(2**20 - 1)
    data = {b"zTXt": b"a\0\0" + packed, b"iTXt": b"a\0\1\0\0\0" + packed, b"iCCP": b"a\0\0" + packed}[kind]
    return flat_png(32, 32, extra=count * chunk(kind, data))


def _many_idats(size: int) -> bytes:
    pixels = zlib.compress(bytes(97 * 32), 0)
    header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    empty, last = chunk(b"IDAT", b"") * (size // 12), chunk(b"IDAT", pixels)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + empty + last + chunk(b"IEND", b"")


def _frames_of_png(frames: int) -> bytes:
    pixels, number = zlib.compress(bytes(97 * 32)), iter(range(2 * frames + 1))

    def control() -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", next(number), 32, 32, 0, 0, 1, 10, 0, 0))

    header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    begin = chunk(b"IHDR", header) + chunk(b"acTL", struct.pack(">II", frames, 0)) + control() + chunk(b"IDAT", pixels)
    rest = [control() + chunk(b"fdAT", struct.pack(">I", next(number)) + pixels) for _ in range(frames - 1)]
    return PNG_SIGNATURE + begin + b"".join(rest) + chunk(b"IEND", b"")


def _raw_bytes(width: int, height: int, depth: int, colour: int, *, interlaced: bool) -> int:
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    total = 0
    for x, y, across, down in passes if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        total += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return total


def _zeros(count: int) -> bytes:
    """So many zeros, deflated."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(min(2**20, count - start))) for start in range(0, count, 2**20)]
    return b"".join([*parts, packer.flush()])


MAKERS: dict[str, Callable[[int], bytes]] = {
    "webp-lossless-flat": lambda side: flat_webp(side, side),
    "webp-animated": lambda side: animated_webp(side, side, 1000),
    "png-1bit": lambda side: flat_png(side, side, depth=1, colour=0),
    "png-1bit-adam7": lambda side: flat_png(side, side, depth=1, colour=0, interlaced=True),
    "png-rgb": lambda side: flat_png(side, side),
    "png-rgba16-adam7": lambda side: flat_png(side, side, depth=16, colour=6, interlaced=True),
    "png-grey16": lambda side: flat_png(side, side, depth=16, colour=0),
    "png-greyalpha16": lambda side: flat_png(side, side, depth=16, colour=4),
    "png-palette-transparent": lambda side: flat_png(side, side, colour=3, extra=chunk(b"tRNS", bytes(256))),
    "png-tall": lambda side: flat_png(side * side // 60_000, 60_000),
    "png-wide": lambda side: flat_png(60_000, side * side // 60_000),
    "png-tiny-chunks": lambda side: flat_png(32, 32, extra=chunk(b"teSt", b"") * (side * 16)),
    "png-empty-pixel-chunks": lambda side: _many_idats(side * 256),
    "png-frames": _frames_of_png,
    "png-ztxt": lambda side: text_bomb(b"zTXt", side // 64),
    "png-itxt": lambda side: text_bomb(b"iTXt", side // 64),
    "png-iccp": lambda side: text_bomb(b"iCCP", side // 64),
    "jpeg-flat": lambda side: flat_jpeg(2 * side, 2 * side),
    "jpeg-cmyk": lambda side: flat_jpeg(2 * side, 2 * side, "CMYK"),
    "jpeg-444": lambda side: flat_jpeg(2 * side, 2 * side, subsampling=0),
    "jpeg-progressive": lambda side: many_scans(side, 50),
    "jpeg-many-scans": lambda side: many_scans(side // 2, 40_000),
    "jpeg-tall": lambda side: flat_jpeg(1, 15 * side),
    "jpeg-fill-bytes": lambda side: padded_jpeg("fill bytes", side * 1024),
    "jpeg-empty-comments": lambda side: padded_jpeg("empty comments", side * 256),
    "jpeg-long-comments": lambda side: padded_jpeg("long comments", side * 1024),
    "jpeg-profiles": lambda side: padded_jpeg("profiles", side * 256),
    "jpeg-tables": lambda side: padded_jpeg("tables", side * 1024),
    "jpeg-exif": lambda side: padded_jpeg("exif", side * 64),
    "jpeg-restarts": lambda side: padded_jpeg("restarts", side * 1024),
    "jpeg-zeros": lambda side: padded_jpeg("zeros", side * 1024),
    "jpeg-fill-at-end": lambda side: padded_jpeg("fill at end", side * 1024),
}
