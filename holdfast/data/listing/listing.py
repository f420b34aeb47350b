"""What a folder or a table says of its images before any of them is decoded: names, labels, parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.console import counted
from holdfast.data.labelled import DataError, draw
from holdfast.data.listing.duplicates import same_contents, unique_rows
from holdfast.data.listing.encoded import EncodedFiles, EncodedImages
from holdfast.data.listing.left_out import LeftOut
from holdfast.data.listing.names import PackedNames
from holdfast.data.listing.parts import LABELLED, Part
from holdfast.data.listing.rows import ImageRows

TEST_SHARE = 0.2
"""Of a set that comes without a test part."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ImageListing:
    """Images with their labels.

    title: the folder or table as it is printed.
    root: the folder that names are relative to.
    names: of the files [N], or of images in shards: "0001.tar/cat.7.jpg".
    encoded: where their bytes lie.
    labels: int64 [N]; UNKNOWN of the part UNLABELLED.
    parts: uint8 [N], values of Part; a set without parts is all TRAIN, but for what has no label.
    class_names: one name per label.
    how: how the set is laid out, in a few words.
    left_out: what is not among the rows, by reason.
    unusable: names and faults of what is meant to be an image and cannot be one.
    """

    title: str
    root: Path
    names: PackedNames
    encoded: EncodedImages
    labels: Rows
    parts: NDArray[np.uint8]
    class_names: tuple[str, ...]
    how: str
    left_out: LeftOut
    unusable: Sequence[tuple[bytes, str]] = ()

    @classmethod
    def of(
        cls,
        title: str,
        root: Path,
        rows: ImageRows,
        *,
        class_names: tuple[str, ...],
        how: str,
        left_out: LeftOut,
        unusable: Sequence[tuple[bytes, str]] = (),
        encoded: EncodedImages | None = None,
    ) -> Self:
        """List rows, and keep one of each image; without `encoded` each is a file of its name below `root`.

        Raises:
            DataError: a class has no image left to learn from.

        """
        encoded = encoded or EncodedFiles(root, rows.names)
        kept = unique_rows(same_contents(encoded), rows.labels, rows.parts, rows.names, left_out)
        names, labels, parts = rows.names.take(kept), rows.labels[kept], rows.parts[kept]
        present = np.bincount(labels[parts == Part.TRAIN], minlength=len(class_names))
        if bare := [class_names[label] for label in np.flatnonzero(present == 0)[:10]]:
            raise DataError("\n".join([f"{title}: no training images remain of {', '.join(bare)}", *left_out.lines()]))
        return cls(title, root, names, encoded.take(kept), labels, parts, class_names, how, left_out, unusable)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def unlabelled(self) -> Rows:
        """The rows of images without a label: int64 [n]."""
        return np.flatnonzero(self.parts == Part.UNLABELLED)

    def split(self, *, calibration: int | None, seed: int, few_shot: bool = False) -> tuple[Rows, Rows, Rows]:
        """Return the rows of train, calibration and test: int64 each.

        A part that the set has is kept. Of a set without a test part a fifth of each class is drawn by `seed`, and then
        `calibration` images of what remains; of a calibration part that the set has, as many are drawn, by default all. With
        `few_shot` nothing is drawn.

        Raises:
            DataError: there are not so many.

        """
        train, held, test = (np.flatnonzero(self.parts == part) for part in LABELLED)
        if few_shot:
            return train, held, test
        if len(test) == 0:
            train, test = self._drawn(train, round(TEST_SHARE * len(train)), seed)
        if len(held) == 0:
            train, held = self._drawn(train, default_calibration(len(train)) if calibration is None else calibration, seed)
        elif calibration is not None:
            if calibration > len(held):
                raise DataError(f"{calibration} calibration images were asked for, but that part of the set has {len(held)}")
            held = np.sort(np.random.default_rng(seed).permutation(held)[:calibration])
        return train, held, test

    def describe(self, split: tuple[Rows, Rows, Rows]) -> list[str]:
        """Return one line on how the set was read and split, and one for each kind of thing that was left out."""
        drawn = [not np.any(self.parts == part) and part != Part.TRAIN for part in LABELLED]
        parts = [
            f"{len(rows):,} {part.name.lower()}" + (" (drawn)" if held else "")
            for part, rows, held in zip(LABELLED, split, drawn, strict=True)
        ]
        if len(self.unlabelled):
            parts.append(f"{len(self.unlabelled):,} without a label")
        absent = len(self.class_names) - len(np.unique(self.labels[split[Part.TEST]]))
        lines = [f"{self.title}: {self.how}: {len(self.class_names):,} classes, {len(self):,} images: {', '.join(parts)}"]
        if absent:
            lines.append(f"the test part has no images of {counted(absent, 'class', 'classes')}")
        return lines + self.left_out.lines()

    def _drawn(self, rows: Rows, count: int, seed: int) -> tuple[Rows, Rows]:
        drawn = draw(self.labels[rows], len(self.class_names), count, seed)
        return rows[~drawn], rows[drawn]


def default_calibration(train: int) -> int:
    """Images to hold out of `train` ones where nobody says how many: a tenth, at most 1,000."""
    return min(1_000, train // 10)
