"""What a PNG's pixels need of its chunks (ISO/IEC 15948), and the pixels themselves.

Texts, profiles, animations and all else that a file may carry are passed over unread, so they cost nothing and break nothing.
"""

import re
import struct
import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, _imaging

from holdfast.errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_CHUNKS, BYTES_A_CHUNK = 1024, 4096
"""So many chunks may there be, and one more for so many bytes of the file. Writers put 8 KiB of pixels or more into one."""

MOST_AFTER = 128
"""Chunks after the pixels that are looked at: one may say which side is up. The others are texts, or frames of an animation."""

NEEDED = frozenset({b"PLTE", b"tRNS", b"eXIf", b"iTXt", b"zTXt", b"tEXt"})
"""Chunks that say something of pixels or orientation, beside the first, the last and the pixels."""

MOST_TEXT_BYTES = 2**20
"""Of a text that may hold the orientation, unpacked."""

MODES = {
    (1, 0): ("1", "1"),
    (2, 0): ("L", "L;2"),
    (4, 0): ("L", "L;4"),
    (8, 0): ("L", "L"),
    (16, 0): ("I;16", "I;16B"),
    (8, 2): ("RGB", "RGB"),
    (16, 2): ("RGB", "RGB;16B"),
    (1, 3): ("P", "P;1"),
    (2, 3): ("P", "P;2"),
    (4, 3): ("P", "P;4"),
    (8, 3): ("P", "P"),
    (8, 4): ("LA", "LA"),
    (16, 4): ("RGBA", "LA;16B"),
    (8, 6): ("RGBA", "RGBA"),
    (16, 6): ("RGBA", "RGBA;16B"),
}
"""Pillow's names of pixels as they are kept and as they are stored, by bits of a sample and colour type."""

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
GREY_SCALES = {2: 85, 4: 17}
XMP_KEYWORD, EXIF_KEYWORD = b"XML:com.adobe.xmp\0", b"Raw profile type exif\0"
SMALL = 2**14
"""Pixels up to which an image's decoding costs less than what Pillow does around it."""

CHUNK_HEAD = struct.Struct(">I4s")
NAME = re.compile(rb"\w{4}")


@dataclass(slots=True)
class PngHeader:
    """A PNG as its chunks describe it.

    Attributes:
        width, height: in pixels.
        depth: bits of a sample, 1 to 16.
        colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        interlaced: its rows come in seven passes.
        chunks: how many there are.
        palette, clear: PLTE and tRNS.
        pixels: where the deflated rows lie, [start, stop) in bytes from the start of the file.
        exif, xmp: that may say which way up it is.
        texts: where packed texts lie that may say it too, by keyword.

    """

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool
    chunks: int = 1
    palette: bytes = b""
    clear: bytes = b""
    pixels: list[tuple[int, int]] = field(default_factory=list)
    exif: bytes = b""
    xmp: bytes = b""
    texts: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether it is small, 8-bit RGB, and nothing beside its pixels changes them: what callers send most."""
        plain = (self.depth, self.colour) == (8, 2) and not (self.clear or self.exif or self.xmp or self.texts)
        return plain and self.width * self.height <= SMALL

    @property
    def row_bytes(self) -> int:
        """Of one row as it is deflated, without its filter's number."""
        return -(-self.width * self.depth * SAMPLES[self.colour] // 8)


def read_header(encoded: bytes) -> PngHeader:
    """Walk the chunks. Reads no pixels, and unpacks nothing.

    Raises:
        ImageError: no header, a kind of pixels that there is none of, very many chunks, or none with pixels.

    """
    header = _first_chunk(encoded)
    end, after, chunk_at = len(encoded), 0, CHUNK_HEAD.unpack_from
    position, most = 33, MOST_CHUNKS + end // BYTES_A_CHUNK
    while position + 8 <= end:
        length, name = chunk_at(encoded, position)
        start = position + 8
        stop = start + length
        header.chunks += 1
        if header.chunks > most:
            if header.pixels and name != b"IDAT":
                break
            raise ImageError("encoded", f"is a PNG of more than {most} chunks")
        if name == b"IDAT":
            header.pixels.append((start, min(stop, end)))
            position = stop + 4
            continue
        if name == b"IEND":
            break
        if (name in NEEDED or stop + 4 > end or not name.isalpha()) and not _take(header, name, encoded, start, stop):
            break
        if header.pixels:
            after += 1
            if after == MOST_AFTER:
                break
        position = stop + 4
    if not header.pixels:
        raise ImageError("encoded", "cannot be decoded: the PNG has no pixels")
    return header


def _first_chunk(encoded: bytes) -> PngHeader:
    if len(encoded) < 33 or encoded[8:16] != b"\0\0\0\rIHDR":
        raise ImageError("encoded", "cannot be decoded: the PNG does not begin with its header")
    _check(encoded, 16, 29)
    width, height, depth, colour, _, filters, interlaced = struct.unpack_from(">IIBBBBB", encoded, 16)
    if (depth, colour) not in MODES or filters or not width or not height:
        raise ImageError("encoded", "cannot be decoded: the PNG's header describes no image")
    return PngHeader(width, height, depth, colour, bool(interlaced))


def _take(header: PngHeader, name: bytes, encoded: bytes, start: int, stop: int) -> bool:
    """Keep what pixels and orientation need. False: the file is damaged here, and what follows cannot be read."""
    before = not header.pixels
    if stop + 4 > len(encoded) or not NAME.fullmatch(name):
        if before:
            raise ImageError("encoded", "cannot be decoded: the PNG is damaged before its pixels")
        return False
    if before and name in {b"PLTE", b"tRNS"}:
        _check(encoded, start, stop)
        if name == b"PLTE":
            header.palette = encoded[start : min(stop, start + 768)]
        else:
            header.clear = encoded[start : min(stop, start + 256)]
    elif name == b"eXIf":
        header.exif = encoded[start:stop]
    elif name in {b"iTXt", b"zTXt", b"tEXt"}:
        keyword = next((word for word in (XMP_KEYWORD, EXIF_KEYWORD) if encoded.startswith(word, start)), None)
        if keyword is not None:
            header.texts[keyword] = name + encoded[start + len(keyword) : stop]
    return True


def _check(encoded: bytes, start: int, stop: int) -> None:
    """Raise where a chunk's data [start, stop) does not have its checksum."""
    stated = int.from_bytes(encoded[stop : stop + 4])
    if zlib.crc32(encoded[start - 4 : stop]) != stated:
        raise ImageError("encoded", f"cannot be decoded: a wrong checksum in the PNG's {encoded[start - 4 : start]!r}")


def written_beside(header: PngHeader) -> tuple[bytes, bytes]:
    """EXIF and XMP, wherever they are kept; b"" where they are not or cannot be unpacked."""
    xmp = _text(header.texts.get(XMP_KEYWORD, b""))
    exif = header.exif
    if not exif and (profile := _text(header.texts.get(EXIF_KEYWORD, b""))):
        try:  # a name and a length in lines of their own, then hexadecimal digits
            exif = bytes.fromhex(b"".join(profile.split(b"\n")[3:]).decode("ascii"))
        except ValueError:
            exif = b""
    return exif, xmp


def _text(chunk: bytes) -> bytes:
    """The text of a chunk, given as its name and what follows the keyword; b"" where it cannot be read."""
    name, data = chunk[:4], chunk[4:]
    packed = name == b"zTXt"
    if name == b"iTXt":
        packed = data[:1] == b"\1"
        data = data[2:].split(b"\0", 2)[-1]  # language, and the keyword in it
    elif packed:
        data = data[1:]
    if not packed:
        return data[:MOST_TEXT_BYTES]
    try:
        return zlib.decompressobj().decompress(data, MOST_TEXT_BYTES)
    except zlib.error:
        return b""


def clear_colour(header: PngHeader) -> int | tuple[int, ...] | bytes | None:
    """Return what is transparent, in the values of decoded pixels: a colour, or the opacity of each in the palette.

    The file states a colour as its samples are stored, at 1 to 16 bits; Pillow scales the samples alone.

    Raises:
        ImageError: it is stated in part.

    """
    stated, depth = header.clear, header.depth
    if not stated or header.colour in {4, 6}:
        return None
    if header.colour == 3:
        return stated
    if len(stated) < 2 * SAMPLES[header.colour]:
        raise ImageError("encoded", "cannot be decoded: the PNG's transparent colour is cut short")
    if header.colour == 2:
        colour = struct.unpack_from(">HHH", stated)
        return tuple(value >> 8 for value in colour) if depth == 16 else colour
    (grey,) = struct.unpack_from(">H", stated)
    if depth == 1:
        return 255 if grey else 0
    return int(grey) * GREY_SCALES.get(depth, 1)


def decode(encoded: bytes, header: PngHeader) -> Image.Image:
    """Inflate the pixels.

    Raises whatever Pillow raises where they are damaged or fewer than the header says.
    """
    mode, stored = MODES[header.depth, header.colour]
    rows = _packed_rows(encoded, header)
    image = Image.frombytes(mode, (header.width, header.height), rows, "zip", stored, int(header.interlaced))
    if mode == "P":
        image.putpalette(header.palette, "RGB")
    return image


def decode_plain(encoded: bytes, header: PngHeader) -> NDArray[np.uint8]:
    """Inflate the pixels of a plain picture: uint8 [h, w, 3].

    It is Pillow's decoder as `decode` calls it, without its front, which takes a quarter of the time of 32 x 32 pixels.

    Raises:
        ValueError: they are damaged or fewer than the header says.

    """
    size = header.width, header.height
    image, decoder = _imaging.new("RGB", size), _imaging.zip_decoder("RGB", "RGB", int(header.interlaced))
    decoder.setimage(image, (0, 0, *size))
    left, fault = decoder.decode(_packed_rows(encoded, header))
    if left >= 0:
        raise ValueError("not enough image data")
    if fault:
        raise ValueError("cannot decode image data")
    encoder = _imaging.raw_encoder("RGB", "RGB", 0, 1)
    encoder.setimage(image, (0, 0, *size))
    _, _, pixels = encoder.encode(3 * header.width * header.height)
    return np.frombuffer(pixels, np.uint8).reshape(header.height, header.width, 3)


def _packed_rows(encoded: bytes, header: PngHeader) -> bytes:
    parts = [encoded[start:stop] for start, stop in header.pixels]
    return parts[0] if len(parts) == 1 else b"".join(parts)
