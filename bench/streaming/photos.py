"""Sets of many photographs, made of a few: each is cut out, turned over and compressed anew, so that no two files are alike."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from holdfast.console import track

SHARD = 1_000
QUALITY = 85


def write_shards(photos: Path, to: Path, images: int, side: int) -> None:
    """Write `images` JPEGs of `side` x `side` pixels as tar shards of SHARD each, unless they are there.

    Args:
        photos: a folder of photographs.
        to: gets the shards; one that is whole is not written again.
        images: how many, of each photograph, which is a class, about as many.
        side: height and width in pixels.

    """
    to.mkdir(parents=True, exist_ok=True)
    originals = [_opened(path, side) for path in sorted(photos.iterdir()) if path.suffix.lower() in {".jpg", ".jpeg"}]
    for first in track(range(0, images, SHARD), "photographs"):
        path = to / f"{first // SHARD:05}.tar"
        if path.is_file():
            continue
        part = path.with_suffix(".part")
        with tarfile.open(part, "w") as archive:
            for name, content in _samples(originals, range(first, min(first + SHARD, images)), side):
                about = tarfile.TarInfo(name)
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
        part.rename(path)


def _opened(path: Path, side: int) -> Image.Image:
    """A photograph, a quarter larger than what is cut out of it."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * side, 2 * side))
        shrunk = image.convert("RGB")
    scale = 1.25 * side / min(shrunk.size)
    return shrunk.resize((round(scale * shrunk.width), round(scale * shrunk.height)))


def _samples(originals: list[Image.Image], numbers: range, side: int) -> Iterator[tuple[str, bytes]]:
    for number in numbers:
        random = np.random.default_rng(number)
        label = number % len(originals)
        image = originals[label]
        left, top = (int(random.integers(0, size - side + 1)) for size in image.size)
        cut = image.crop((left, top, left + side, top + side))
        if random.integers(2):
            cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        buffer = io.BytesIO()
        cut.save(buffer, "JPEG", quality=QUALITY)
        yield f"{number:07}.jpg", buffer.getvalue()
        yield f"{number:07}.cls", str(label).encode()
