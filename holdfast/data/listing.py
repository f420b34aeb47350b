"""What a folder or a table says of its images before any of them is decoded: names, labels, parts."""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.data.labelled import DataError, draw
from holdfast.data.names import PackedNames

TEST_SHARE = 0.2
"""Of a set that comes without a test part."""


class Part(IntEnum):
    """The part of a set that an image belongs to, where the set says so."""

    TRAIN = 0
    CALIBRATION = 1
    TEST = 2


@dataclass(frozen=True, eq=False)
class ImageListing:
    """Image files with their labels.

    root: the folder that names are relative to.
    names: of the files [N].
    labels: int64 [N].
    parts: uint8 [N], values of Part; a set without parts is all TRAIN.
    class_names: one name per label.
    """

    root: Path
    names: PackedNames
    labels: NDArray[np.int64]
    parts: NDArray[np.uint8]
    class_names: tuple[str, ...]

    def split(self, *, calibration: int | None, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of train, calibration and test: int64 each.

        A part that the set has is kept. Of a set without a test part a fifth of each class is drawn by `seed`, and then
        `calibration` images of what remains.
        """
        classes = len(self.class_names)
        train, held, test = (np.flatnonzero(self.parts == part) for part in Part)
        if len(test) == 0:
            drawn = draw(self.labels[train], classes, round(TEST_SHARE * len(train)), seed)
            train, test = train[~drawn], train[drawn]
        if len(held) == 0:
            wanted = default_calibration(len(train)) if calibration is None else calibration
            drawn = draw(self.labels[train], classes, wanted, seed)
            train, held = train[~drawn], train[drawn]
        elif calibration is not None:
            if calibration > len(held):
                raise DataError(f"{calibration} calibration images were asked for, but that part of the set has {len(held)}")
            held = held[np.sort(np.random.default_rng(seed).permutation(len(held))[:calibration])]
        return train, held, test


def default_calibration(train: int) -> int:
    """Images to hold out of `train` ones where nobody says how many: a tenth, at most 1,000."""
    return min(1_000, train // 10)
