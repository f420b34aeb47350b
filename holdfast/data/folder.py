"""A folder of class folders of PNG, JPEG or WebP images: DIR/{train,test}/CLASS/* or DIR/CLASS/*."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from holdfast.console import Console, track
from holdfast.data.labelled import DataError, LabelledImages, hold_out
from holdfast.errors import ImageError
from holdfast.model.preprocess import InputContract, decode_image

TEST_SHARE = 0.2  # of a folder that comes without a test part
NAMED_AT_MOST = 10
TOLD_FROM = 1_000  # files: below that a progress bar only flickers


def read(directory: Path | None, size: int, *, seed: int, skip_unreadable: bool) -> tuple[LabelledImages, LabelledImages]:
    """Return (train, test) of uint8 [N, size, size, 3]; images of any size are fitted by the input contract.

    Without train/ and test/ subfolders a fifth of each class, drawn by `seed`, is the test part. Classes are numbered
    in the alphabetical order of their folders; hidden files are passed over.

    Raises:
        DataError: no such folder, no classes or one only, a class without images, or files that are not images
            (unless `skip_unreadable`: then they are counted on stderr and left out).

    """
    if directory is None or not directory.is_dir():
        raise DataError(f"the data set 'folder' needs --data-dir with a folder of class folders; got {directory}")
    parts = [directory / "train", directory / "test"]
    present = [part for part in parts if part.is_dir()]
    if len(present) == 1 and _subfolders(present[0]):
        missing = parts[1 - parts.index(present[0])]
        raise DataError(f"{directory} has {present[0].name}/ but no {missing.name}/: give both, or class folders only")
    if len(present) == 1 or not present:
        classes = _subfolders(directory)
        everything = _read_classes(directory, directory, classes, size, skip_unreadable=skip_unreadable)
        return hold_out(everything, round(TEST_SHARE * len(everything)), seed)
    train, test = parts
    classes = _subfolders(train)
    if unknown := sorted(set(_subfolders(test)) - set(classes)):
        raise DataError(f"{test} has classes that {train} has not: {', '.join(unknown)}")
    return (
        _read_classes(directory, train, classes, size, skip_unreadable=skip_unreadable),
        _read_classes(directory, test, classes, size, skip_unreadable=skip_unreadable),
    )


def _subfolders(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _read_classes(root: Path, part: Path, classes: Sequence[str], size: int, *, skip_unreadable: bool) -> LabelledImages:
    if len(classes) < 2:
        raise DataError(f"{part} holds {len(classes)} class folders: a classifier needs at least two, one per class")
    contract = InputContract(height=size, width=size)
    files = [(path, label) for label, name in enumerate(classes) for path in _files(part / name)]
    images, labels, sources, unreadable = [], [], [], []
    for path, label in track(
        files, f"reading {part.name}/", console=Console(stderr=True), transient=True, disable=len(files) < TOLD_FROM
    ):
        try:
            images.append(decode_image(path.read_bytes(), contract))
        except (ImageError, OSError) as error:
            unreadable.append(f"{path.relative_to(root)}: {error}")
            continue
        labels.append(label)
        sources.append(path.relative_to(root).as_posix())
    _refuse_unreadable(unreadable, len(files), skip=skip_unreadable)
    if empty := [name for label, name in enumerate(classes) if label not in set(labels)]:
        raise DataError(f"{part}: no readable images in the class folders {', '.join(empty)}")
    return LabelledImages(np.stack(images), np.array(labels, dtype=np.int64), tuple(classes), sources)


def _files(folder: Path) -> list[Path]:
    """List every file of a class, at any depth, hidden ones left out."""
    found = (path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else ()
    return sorted(p for p in found if not any(name.startswith(".") for name in p.relative_to(folder).parts))


def _refuse_unreadable(unreadable: list[str], total: int, *, skip: bool) -> None:
    if not unreadable:
        return
    named = "\n  ".join(unreadable[:NAMED_AT_MOST])
    more = f"\n  and {len(unreadable) - NAMED_AT_MOST} more" if len(unreadable) > NAMED_AT_MOST else ""
    summary = f"{len(unreadable)} of {total} files are not readable images:\n  {named}{more}"
    if not skip:
        raise DataError(f"{summary}\nRemove them, or leave them out by --skip-unreadable.")
    Console(stderr=True).print(f"skipped: {summary}", markup=False)
