"""Small images of every kind that the decoder takes, for mutations to begin with."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from bench.hostile import images
from holdfast.errors import HoldfastError

LONGEST = 32_768
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'


def generated() -> list[bytes]:
    """Images made on the spot: every mode, and all that may stand beside pixels."""
    made = [*_pngs(), *_jpegs(), *_webps(), *images.attacks(48).values()]
    return [encoded for encoded in made if len(encoded) <= LONGEST // 4]  # a long one is mutated slowly, and finds no more


def of_folders(folders: Sequence[Path]) -> list[bytes]:
    """Every file of some kilobytes in these folders, in the order of their paths.

    Raises:
        HoldfastError: a folder is not there.

    """
    for folder in folders:
        if not folder.is_dir():
            raise HoldfastError(f"{folder} is no folder: seeds are files in folders")
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [path.read_bytes() for path in paths if 0 < path.stat().st_size <= LONGEST]


def _picture(channels: int, dtype: type = np.uint8) -> Image.Image:
    shape = (24, 33) if channels == 1 else (24, 33, channels)
    noise = np.random.default_rng(channels).integers(0, 256, shape)
    return Image.fromarray((noise * (257 if dtype == np.uint16 else 1)).astype(dtype))


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "a maker of cameras", 72.0
    return exif


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _pngs() -> Iterator[bytes]:
    for image in (_picture(1), _picture(3), _picture(4), _picture(1, np.uint16), _picture(3).quantize(200)):
        yield _saved(image, "PNG")
    yield _saved(_picture(1).convert("1"), "PNG")
    yield _saved(_picture(2).convert("LA"), "PNG")
    yield _saved(_picture(3).quantize(7), "PNG", transparency=b"\0\xff\x80")
    yield _saved(_picture(3), "PNG", transparency=(9, 9, 9))
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP, zip=True)
    info.add_text("Raw profile type exif", "\nexif\n  6\n" + b"Exif\0\0".hex(), zip=True)
    info.add_text("Comment", "word " * 99)
    yield _saved(_picture(3), "PNG", pnginfo=info, exif=_exif(), icc_profile=bytes(500), dpi=(72, 72))
    yield _saved(_picture(4), "PNG", save_all=True, append_images=[_picture(4).rotate(9), _picture(4).rotate(99)])
    for depth, colour in ((1, 0), (2, 0), (4, 0), (8, 2), (16, 2), (16, 6), (4, 3), (16, 4)):
        yield images.flat_png(19, 21, depth=depth, colour=colour, interlaced=True)


def _jpegs() -> Iterator[bytes]:
    picture = _picture(3)
    for options in ({}, {"subsampling": 0}, {"progressive": True}, {"restart_marker_blocks": 2}, {"quality": 5}):
        yield _saved(picture, "JPEG", **options)
    yield _saved(_picture(1), "JPEG")
    yield _saved(picture.convert("CMYK"), "JPEG")
    yield _saved(picture, "JPEG", exif=_exif(), icc_profile=bytes(500), comment=b"a comment", xmp=XMP)
    yield _saved(picture, "MPO", save_all=True, append_images=[picture.rotate(90)])
    yield _saved(picture.resize((200, 300)), "JPEG")[:-2]


def _webps() -> Iterator[bytes]:
    for options in ({}, {"lossless": True}, {"exif": _exif(), "xmp": XMP, "icc_profile": bytes(300)}):
        yield _saved(_picture(3), "WEBP", **options)
        yield _saved(_picture(4), "WEBP", **options)
    yield _saved(_picture(4), "WEBP", save_all=True, append_images=[_picture(4).rotate(9)], duration=50)
