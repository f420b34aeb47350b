"""What an encoder is hardened on: a labelled set, or a folder of images without classes."""

from pathlib import Path

import numpy as np

from holdfast.data import DataError, LabelledImages, Splits
from holdfast.data.labelled import UNKNOWN
from holdfast.data.listing.formats import IMAGE, kind_of
from holdfast.data.sets import NAMES
from holdfast.errors import ImageError
from holdfast.model.preprocess import InputContract, decode_image


def is_set_without_classes(data: str) -> bool:
    """Whether `data` is a folder with images in it and no folder."""
    folder = Path(data)
    if data in NAMES or not folder.is_dir():
        return False
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return not any(path.is_dir() for path in inside) and any(_is_image(path) for path in inside)


def read_without_classes(folder: Path, contract: InputContract, *, skip_unreadable: bool, max_pixels: int) -> Splits:
    """All images of a folder, in the order of their names, as the part of a set that has no labels; other files are not read.

    Raises:
        DataError: fewer than two, or one that cannot be decoded, unless these are to be skipped.

    """
    images, names, unreadable = [], [], []
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".") and _is_image(path)):
        try:
            images.append(decode_image(path.read_bytes(), contract, max_pixels=max_pixels))
            names.append(path.name)
        except ImageError as error:
            unreadable.append(f"{path.name}: {error}")
    if unreadable and not skip_unreadable:
        raise DataError(f"{folder}: {unreadable[0]}; leave such files out by --skip-unreadable")
    if len(images) < 2:
        raise DataError(f"{folder} holds {len(images)} images that can be read; there must be two or more")
    none = LabelledImages(np.zeros((0, *contract.shape), np.uint8), np.zeros(0, np.int64), (), [])
    found = LabelledImages(np.stack(images), np.full(len(images), UNKNOWN), (), names)
    notes = (f"{folder}: {len(images)} images without classes, {len(unreadable)} left out as unreadable",)
    return Splits(none, none, none, notes=notes, unlabelled=found)


def _is_image(path: Path) -> bool:
    return path.is_file() and kind_of(str(path).encode()) == IMAGE
