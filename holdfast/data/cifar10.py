"""CIFAR-10 in the authors' binary layout: 50,000 training and 10,000 test images of 32x32.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.data.download import retrieve_archive
from holdfast.data.labelled import DataError, LabelledImages, Size, fit_all

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # published on the authors' page beside the archive
FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILES = ("test_batch.bin",)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ROW = 1 + 3 * 32 * 32  # one label byte, then the red, green and blue planes


def read(directory: Path | None, size: Size) -> tuple[LabelledImages, LabelledImages]:
    """Return (train, test) of uint8 [N, height, width, 3], from `directory` or else from the authors' archive.

    Raises:
        DataError: files are missing or damaged, or the download did not succeed.

    """
    folder = _locate(directory) if directory is not None else _download()
    return _read_files(folder, TRAIN_FILES, "train", size), _read_files(folder, TEST_FILES, "test", size)


def _locate(directory: Path) -> Path:
    for folder in (directory / FOLDER, directory):
        if (folder / TEST_FILES[0]).is_file():
            return folder
    hint = ""
    if any((directory / name).exists() for name in ("cifar-10-batches-py", "batches.meta")):
        hint = " This is the Python (pickle) version: holdfast opens no pickles; take the binary version."
    raise DataError(f"no CIFAR-10 in {directory}: expected {FOLDER}/ with data_batch_1..5.bin and test_batch.bin.{hint}")


def _download() -> Path:
    return _locate(
        retrieve_archive(
            URL,
            f"md5:{MD5}",
            f"Without a network, unpack that file by hand and name the folder that holds {FOLDER}/ with --data-dir.",
        )
    )


def _read_files(folder: Path, names: tuple[str, ...], split: str, size: Size) -> LabelledImages:
    rows = np.concatenate([read_batch(folder / name) for name in names])
    planes = rows[:, 1:].reshape(-1, 3, 32, 32)
    return LabelledImages(
        fit_all(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), size),
        rows[:, 0].astype(np.int64),
        CLASSES,
        [f"cifar10/{split}/{i}" for i in range(len(rows))],
    )


def read_batch(path: Path) -> NDArray[np.uint8]:
    """Read one .bin file: uint8 [N, 3073], label first.

    Raises:
        DataError: the file is absent, empty, cut short, or holds a label above 9.

    """
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: {FOLDER}/ is incomplete; unpack the archive again") from error
    if content.size == 0 or content.size % ROW:
        raise DataError(f"{path} is damaged: {content.size} bytes are not a whole number of {ROW}-byte rows")
    rows = content.reshape(-1, ROW)
    if (worst := int(rows[:, 0].max())) >= len(CLASSES):
        raise DataError(f"{path} is damaged: it holds the label {worst}; CIFAR-10 has labels 0 to 9")
    return rows
