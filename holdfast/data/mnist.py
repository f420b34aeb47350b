"""MNIST and Fashion-MNIST from their four published idx .gz files: 60,000 training and 10,000 test images of 28x28, grey.

Sources: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", 1998; H. Xiao, K. Rasul,
R. Vollgraf, arXiv 1708.07747, https://github.com/zalandoresearch/fashion-mnist. The files of both have the same names.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdfast.data.idx import read_idx
from holdfast.data.labelled import DataError, LabelledImages, Size, fit_all

PREFIXES = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class IdxSet:
    """A set in MNIST's files.

    Attributes:
        name: as the user types it; a folder of this name within the one that is given is looked into.
        classes: one name per label.
        origin: where the files are published, for the message that asks for them.

    """

    name: str
    classes: tuple[str, ...]
    origin: str

    def read(self, directory: Path | None, size: Size) -> tuple[LabelledImages, LabelledImages]:
        """Return (train, test) of uint8 [N, height, width, 3], grey repeated in the three channels.

        Raises:
            DataError: no directory, or a file is missing or damaged.

        """
        if directory is None:
            raise DataError(
                f"{self.name} is read from a folder: fetch the four .gz files from {self.origin} and pass their folder as"
                " --data-dir"
            )
        nested = directory / self.name
        folder = nested if nested.is_dir() else directory
        return self._read_split(folder, "train", size), self._read_split(folder, "test", size)

    def _read_split(self, folder: Path, split: str, size: Size) -> LabelledImages:
        images_file = folder / f"{PREFIXES[split]}-images-idx3-ubyte.gz"
        labels_file = folder / f"{PREFIXES[split]}-labels-idx1-ubyte.gz"
        images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
        if len(images) != len(labels):
            raise DataError(f"{images_file} holds {len(images)} images, but {labels_file} {len(labels)} labels")
        if (labels >= len(self.classes)).any():
            raise DataError(
                f"{labels_file} is damaged: it holds the label {labels.max()}; {self.name} has labels 0 to"
                f" {len(self.classes) - 1}"
            )
        sources = [f"{self.name}/{split}/{i}" for i in range(len(images))]
        return LabelledImages(fit_all(images, size), labels.astype(np.int64), self.classes, sources)


MNIST = IdxSet("mnist", tuple("0123456789"), "http://yann.lecun.com/exdb/mnist")
FASHION_MNIST = IdxSet(
    "fashion-mnist",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    "https://github.com/zalandoresearch/fashion-mnist",
)
