"""What the held-out traffic is made of: pictures that no rule and no threshold of a detector was ever chosen by."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from holdfast.data import LabelledImages
from holdfast.data.idx import read_idx
from holdfast.errors import HoldfastError
from holdfast.model.answers import Ints
from holdfast.model.preprocess import Pixels

SUFFIXES = {".jpg", ".jpeg", ".png"}
PHOTO_SIDE = 256
"""Pixels of the shorter side to which photographs are made smaller: films of 32 x 32 need no more."""


@dataclass(frozen=True, eq=False)
class HeldOutSources:
    """Pictures of five kinds.

    Attributes:
        alike: images of the bundle's own kind, uint8 [n, S, S, 3]: those of the test part, each mirrored, as no tuned traffic
            shows them.
        labels: of these, int64 [n].
        photos: photographs, RGB, of any shape; in an order drawn by the draw.
        hands: photographs of hands, RGB.
        digits, clothes: grey images uint8 [n, 28, 28], of MNIST and Fashion-MNIST.

    """

    alike: Pixels
    labels: Ints
    photos: tuple[Image.Image, ...]
    hands: tuple[Image.Image, ...]
    digits: NDArray[np.uint8]
    clothes: NDArray[np.uint8]

    @property
    def side(self) -> int:
        """Pixels along a side of the model's images."""
        return int(self.alike.shape[1])


def read_sources(test: LabelledImages, folder: Path, draw: int) -> HeldOutSources:
    """All five.

    Args:
        test: the test part.
        folder: holds `photos`, `sign-digits`, `mnist` and `fashion-mnist`, the last two as published.
        draw: number of the draw; another one shows other pictures, or the same in other ways.

    Raises:
        HoldfastError: something is not there, or no picture.

    """
    rng = np.random.default_rng([draw, 0])
    idx = (folder / name / "t10k-images-idx3-ubyte.gz" for name in ("mnist", "fashion-mnist"))
    digits, clothes = (read_idx(path, 3) for path in idx)
    order = rng.permutation(len(test))
    return HeldOutSources(
        np.ascontiguousarray(test.images[order, :, ::-1]),
        test.labels[order],
        _pictures(folder / "photos", rng),
        _pictures(folder / "sign-digits", rng),
        digits[rng.permutation(len(digits))],
        clothes[rng.permutation(len(clothes))],
    )


def as_rgb(grey: NDArray[np.uint8], side: int) -> Pixels:
    """Grey images in the middle of black ones: uint8 [n, h, w] -> [n, side, side, 3]; larger ones are cut."""
    height, width = (min(size, side) for size in grey.shape[1:])
    framed = np.zeros((len(grey), side, side, 3), np.uint8)
    down, right = (side - height) // 2, (side - width) // 2
    framed[:, down : down + height, right : right + width] = grey[:, :height, :width, None]
    return framed


def _pictures(folder: Path, rng: np.random.Generator) -> tuple[Image.Image, ...]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise HoldfastError(f"{folder} holds no pictures")
    found = []
    for number in rng.permutation(len(files)).tolist():
        try:
            with Image.open(files[number]) as opened:
                opened.draft("RGB", (2 * PHOTO_SIDE, 2 * PHOTO_SIDE))
                picture = opened.convert("RGB")
        except OSError as error:
            raise HoldfastError(f"{files[number]} is no picture: {error}") from error
        found.append(_made_small(picture))
    return tuple(found)


def _made_small(picture: Image.Image) -> Image.Image:
    factor = PHOTO_SIDE / min(picture.size)
    if factor >= 1:
        return picture
    width, height = (max(PHOTO_SIDE, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)
