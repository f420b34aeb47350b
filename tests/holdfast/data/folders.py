"""Folders of small pictures, each with its own pixels, for the tests of how folders are read."""

import io
import os
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

_numbers = count()


def picture(number=None, size=(12, 10), kind="PNG"):
    """Bytes of a picture: the same for the same number, and otherwise one that no other call gives."""
    seed = 10_000_000 + next(_numbers) if number is None else number
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def put(folder, *paths, content=None):
    """Write a picture, or `content`, at each path below a folder; names may be bytes."""
    for path in paths:
        full = Path(folder, os.fsdecode(path))
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(picture() if content is None else content)


def classes(folder, *names, images=3):
    """Class folders with so many pictures in each."""
    for name in names:
        put(folder, *(f"{name}/{i}.png" for i in range(images)))
