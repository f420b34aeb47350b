"""Which files are images, by their names and, where these say nothing, by their first bytes."""

import os

IMAGE = "image"
OTHER_FORMAT = "is a "
NO_IMAGE = "no image"

SUFFIXES = {b".png", b".jpg", b".jpeg", b".jpe", b".jfif", b".webp"}
OTHER_SUFFIXES = {
    **dict.fromkeys((b".bmp", b".dib"), "BMP"),
    **dict.fromkeys((b".tif", b".tiff"), "TIFF"),
    **dict.fromkeys((b".heic", b".heif"), "HEIC"),
    **dict.fromkeys((b".dng", b".cr2", b".cr3", b".nef", b".arw"), "raw"),
    b".gif": "GIF",
    b".avif": "AVIF",
    b".jp2": "JPEG 2000",
    b".jxl": "JPEG XL",
    b".ppm": "PPM",
    b".pgm": "PGM",
    b".svg": "SVG",
}
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
OTHER_MAGIC = {b"BM": "BMP", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"}


def kind_of(path: bytes) -> str:
    """Return IMAGE, NO_IMAGE, or why an image of another format cannot be read, which begins with OTHER_FORMAT.

    A file that cannot be opened counts as what its name says, and one without a telling name as an image: reading it will
    say what is wrong.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in SUFFIXES:
        return IMAGE
    if suffix in OTHER_SUFFIXES:
        return other_format(OTHER_SUFFIXES[suffix])
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return IMAGE
    return kind_by_start(start)


def kind_by_start(start: bytes) -> str:
    """As `kind_of`, by the first twelve bytes of a file alone."""
    if start.startswith(MAGIC) or (start[:4] == b"RIFF" and start[8:] == b"WEBP"):
        return IMAGE
    found = [name for magic, name in OTHER_MAGIC.items() if start.startswith(magic)]
    # Two letters are not enough to tell a bitmap from a text.
    return other_format(found[0]) if found and (found[0] != "BMP" or not start.isascii()) else NO_IMAGE


def other_format(name: str) -> str:
    """Why an image of another format cannot be read."""
    return f"{OTHER_FORMAT}{name} image; PNG, JPEG and WebP are read: convert it"
