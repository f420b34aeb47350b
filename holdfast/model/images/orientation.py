"""Which way up a picture is, by what a camera wrote beside it: the one tag of all metadata that pixels depend on.

Metadata comes from strangers. Only this tag is looked for, in bounded time, and nothing that is wrong with the rest matters.
"""

import re
import struct

from PIL import Image

EXIF = b"Exif\0\0"
TAG = 0x0112
MOST_TAGS = 1024
"""Of the first directory, that are looked at. Cameras write about twenty."""

FORMATS = {3: "H", 4: "I", 8: "h", 9: "i"}  # the whole numbers among the types of a tag
XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn_of(exif: bytes, xmp: bytes = b"") -> Image.Transpose | None:
    """Return what sets a picture upright: by EXIF, or by XMP where EXIF says nothing; None where it is upright or unknown."""
    orientation = _of_exif(exif) if exif else None
    if orientation is None and xmp and (found := XMP.search(xmp)):
        orientation = int(found[1])
    return None if orientation is None else TURNS.get(orientation)


def _of_exif(exif: bytes) -> int | None:
    """The tag in the first directory of a TIFF header (Exif 2.32, section 4.5.2); None where it is not there to be read."""
    while exif.startswith(EXIF):
        exif = exif[len(EXIF) :]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return None
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    if start + 2 > len(exif):
        return None
    (count,) = struct.unpack_from(f"{order}H", exif, start)
    for place in range(start + 2, min(start + 2 + 12 * min(count, MOST_TAGS), len(exif) - 11), 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", exif, place)
        if tag == TAG and kind in FORMATS and values:
            form = order + FORMATS[kind]
            inline = values * struct.calcsize(form) <= 4
            where = place + 8 if inline else struct.unpack_from(f"{order}I", exif, place + 8)[0]
            return int(struct.unpack_from(form, exif, where)[0]) if where + struct.calcsize(form) <= len(exif) else None
    return None
