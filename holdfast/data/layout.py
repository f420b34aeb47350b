"""How a folder of images is laid out: DIR/CLASS/* or DIR/{train,test}/CLASS/*."""

import os
from pathlib import Path

import numpy as np

from holdfast.data.labelled import DataError
from holdfast.data.listing import ImageListing, Part
from holdfast.data.names import PackedNames, printable


def list_folder(directory: Path) -> ImageListing:
    """List the images of a folder of class folders, without opening them.

    Raises:
        DataError: there is no such folder, or it holds fewer than two classes.

    """
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder: name a folder of class folders")
    folders = _subfolders(directory)
    parts = {Part.TRAIN: "train", Part.TEST: "test"} if {"train", "test"} <= set(folders) else {Part.TRAIN: ""}
    classes = _subfolders(directory / parts[Part.TRAIN])
    if len(classes) < 2:
        raise DataError(f"{directory / parts[Part.TRAIN]} holds {len(classes)} class folders: at least two are needed")
    rows = [
        (os.fsencode(path.relative_to(directory)), label, part)
        for part, name in parts.items()
        for label, class_name in enumerate(classes)
        for path in sorted((directory / name / class_name).rglob("*"))
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(directory).parts)
    ]
    return ImageListing(
        directory,
        PackedNames.pack(name for name, _, _ in rows),
        np.array([label for _, label, _ in rows], dtype=np.int64),
        np.array([part for _, _, part in rows], dtype=np.uint8),
        tuple(map(printable, classes)),
    )


def _subfolders(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
