"""Fashion-MNIST from its four published idx .gz files: 60,000 training and 10,000 test images of 28x28, grey.

Source: H. Xiao, K. Rasul, R. Vollgraf, arXiv 1708.07747; https://github.com/zalandoresearch/fashion-mnist
"""

from pathlib import Path

import numpy as np

from holdfast.data.idx import read_idx
from holdfast.data.labelled import DataError, LabelledImages, fit_all

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
PREFIXES = {"train": "train", "test": "t10k"}


def read(directory: Path | None, size: int) -> tuple[LabelledImages, LabelledImages]:
    """Return (train, test) of uint8 [N, size, size, 3], grey repeated in the three channels.

    Raises:
        DataError: no directory, or a file is missing or damaged.

    """
    if directory is None:
        raise DataError(
            "fashion-mnist is read from a folder: fetch the four .gz files from "
            "https://github.com/zalandoresearch/fashion-mnist and pass their folder as --data-dir"
        )
    nested = directory / "fashion-mnist"
    folder = nested if nested.is_dir() else directory
    return _read_split(folder, "train", size), _read_split(folder, "test", size)


def _read_split(folder: Path, split: str, size: int) -> LabelledImages:
    images_file = folder / f"{PREFIXES[split]}-images-idx3-ubyte.gz"
    labels_file = folder / f"{PREFIXES[split]}-labels-idx1-ubyte.gz"
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    if len(images) != len(labels):
        raise DataError(f"{images_file} holds {len(images)} images, but {labels_file} {len(labels)} labels")
    sources = [f"fashion-mnist/{split}/{i}" for i in range(len(images))]
    return LabelledImages(fit_all(images, size), labels.astype(np.int64), CLASSES, sources)
