"""Mutations of image files that know how the formats are built: parts are cut, doubled and swapped, checksums made right."""

import random
import struct
import zlib
from collections.abc import Callable, Sequence

Mutation = Callable[[random.Random, bytes, bytes], bytes]

ODD_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
MARKERS = (*range(0xC0, 0xD0), *range(0xD0, 0xE3), 0xED, 0xEE, 0xFE, 0xFF, 0x00, 0x01)
LONGEST = 2**17


def mutate(choose: random.Random, files: Sequence[bytes]) -> bytes:
    """One of the files after one to four mutations, at times with parts of another."""
    data = choose.choice(files)
    for _ in range(choose.choice((1, 1, 1, 2, 4))):
        data = choose.choice(_mutations_of(data))(choose, data, choose.choice(files))[:LONGEST]
    return data


def _mutations_of(data: bytes) -> Sequence[Mutation]:
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return (*BLIND, *(3 * (_chunks_of_png,)), *(3 * (_within_chunk,)))
    if data[:2] == b"\xff\xd8":
        return (*BLIND, *(3 * (_segments_of_jpeg,)), *(3 * (_within_segment,)))
    if data[:4] == b"RIFF":
        return (*BLIND, *(3 * (_chunks_of_webp,)), *(3 * (_within_riff,)))
    return BLIND


def _flip(choose: random.Random, data: bytes, other: bytes) -> bytes:
    del other
    changed = bytearray(data)
    for _ in range(choose.randint(1, 8) if data else 0):
        changed[choose.randrange(len(changed))] ^= 1 << choose.randrange(8)
    return bytes(changed)


def _write_number(choose: random.Random, data: bytes, other: bytes) -> bytes:
    del other
    size = choose.choice((1, 2, 4))
    number = choose.choice(ODD_NUMBERS) % (1 << 8 * size)
    place = choose.randrange(max(1, len(data) - size))
    return data[:place] + number.to_bytes(size, choose.choice(("big", "little"))) + data[place + size :]


def _cut(choose: random.Random, data: bytes, other: bytes) -> bytes:
    del other
    return data[: choose.randint(0, len(data))]


def _remove(choose: random.Random, data: bytes, other: bytes) -> bytes:
    del other
    start = choose.randint(0, len(data))
    return data[:start] + data[start + choose.randint(1, 64) :]


def _insert(choose: random.Random, data: bytes, other: bytes) -> bytes:
    start = choose.randint(0, len(other))
    piece = choose.choice((other[start : start + choose.randint(1, 200)], bytes(choose.randint(1, 99)), b"\xff" * 999))
    place = choose.randint(0, len(data))
    return data[:place] + piece + data[place:]


BLIND: tuple[Mutation, ...] = (_flip, _write_number, _cut, _remove, _insert)


def _shuffled(choose: random.Random, parts: list[bytes], others: list[bytes]) -> list[bytes]:
    """Parts after one of the changes that make sense for a list."""
    place = choose.randrange(len(parts)) if parts else 0
    match choose.randrange(5):
        case 0:
            del parts[place : place + 1]
        case 1:
            parts[place:place] = parts[place : place + 1] * choose.choice((1, 2, 300))
        case 2 if parts:
            parts.insert(choose.randrange(len(parts)), parts.pop(place))
        case 3 if others:
            parts.insert(place, choose.choice(others))
        case _:
            del parts[place + 1 :]
    return parts


def _png_parts(data: bytes) -> list[bytes]:
    parts, position = [], 8
    while position + 12 <= len(data):
        stop = position + 12 + int.from_bytes(data[position : position + 4])
        parts.append(data[position:stop])
        position = stop
    return parts


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _chunks_of_png(choose: random.Random, data: bytes, other: bytes) -> bytes:
    return data[:8] + b"".join(_shuffled(choose, _png_parts(data), _png_parts(other)))


def _within_chunk(choose: random.Random, data: bytes, other: bytes) -> bytes:
    """A chunk's body mutated, under a checksum that is right; pixels at times unpacked before and packed after."""
    parts = _png_parts(data)
    if not parts:
        return data
    place = choose.randrange(len(parts))
    name, body = parts[place][4:8], parts[place][8:-4]
    if name == b"IHDR" and len(body) == 13 and choose.random() < 0.7:
        sides = struct.pack(">II", *(choose.choice((1, 3, 8, 33, 200, 70_000)) for _ in range(2)))
        body = choose.choice((sides, body[:8])) + bytes((choose.choice((1, 2, 4, 8, 16)), choose.choice((0, 2, 3, 4, 6)), 0, 0))
        body += bytes((choose.randrange(2),))
    elif name in {b"IDAT", b"zTXt", b"iTXt", b"iCCP"} and choose.random() < 0.5:
        try:
            plain = zlib.decompressobj().decompress(body, 2**16)
        except zlib.error:
            plain = body
        body = zlib.compress(choose.choice(BLIND)(choose, plain, other), choose.choice((0, 1, 9)))
    else:
        body = choose.choice(BLIND)(choose, body, other)
    names = (name, name, name, b"IDAT", b"tRNS", b"PLTE", b"eXIf", b"fdAT", b"teSt")
    parts[place] = _png_chunk(choose.choice(names), body)
    return data[:8] + b"".join(parts)


def _jpeg_parts(data: bytes) -> list[bytes]:
    """Segments, each from its marker to the next one."""
    parts, position = [], 2
    while 0 <= position < len(data):
        following = data.find(b"\xff", position + 2)
        while 0 <= following < len(data) - 1 and data[following + 1] == 0:
            following = data.find(b"\xff", following + 2)
        parts.append(data[position : following if following > 0 else len(data)])
        position = following
    return parts


def _segments_of_jpeg(choose: random.Random, data: bytes, other: bytes) -> bytes:
    return data[:2] + b"".join(_shuffled(choose, _jpeg_parts(data), _jpeg_parts(other)))


def _within_segment(choose: random.Random, data: bytes, other: bytes) -> bytes:
    """A segment's body mutated, its length made right at times; or another marker."""
    parts = _jpeg_parts(data)
    if not parts:
        return data
    place = choose.randrange(len(parts))
    marker, body = parts[place][1:2], parts[place][4:]
    if choose.random() < 0.3:
        marker = bytes((choose.choice(MARKERS),))
    else:
        body = choose.choice(BLIND)(choose, body, other)
    length = struct.pack(">H", (len(body) + 2) % 65536) if choose.random() < 0.8 else parts[place][2:4]
    parts[place] = b"\xff" + marker + length + body
    return data[:2] + b"".join(parts)


def _riff_parts(data: bytes) -> list[bytes]:
    parts, position = [], 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        stop = position + 8 + length + length % 2
        parts.append(data[position:stop])
        position = stop
    return parts


def _riff(parts: list[bytes]) -> bytes:
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunks_of_webp(choose: random.Random, data: bytes, other: bytes) -> bytes:
    return _riff(_shuffled(choose, _riff_parts(data), _riff_parts(other)))


def _within_riff(choose: random.Random, data: bytes, other: bytes) -> bytes:
    parts = _riff_parts(data)
    if not parts:
        return data
    place = choose.randrange(len(parts))
    body = choose.choice(BLIND)(choose, parts[place][8:], other)
    parts[place] = parts[place][:4] + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return _riff(parts)
