"""Labelled image files, in calls that can be sent again."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdfast.client.messages import CallLimits
from holdfast.data.labelled import DataError
from holdfast.data.listing import TABLES, list_images, printable
from holdfast.data.listing.parts import Part

CALL_BYTES_BESIDE, FILE_BYTES_BESIDE = 80, 24
"""Bytes, at most, of a call beside its files, and of one file beside its bytes and names."""


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """An image file, the name of its class, and what it is called on the server."""

    path: Path
    label: str
    source: str


@dataclass(frozen=True, slots=True)
class FileSet:
    """Files to be added, and what was left out of the folder that they are in, a line each."""

    files: Sequence[LabelledFile]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Some of them, with their bytes; the request id is made of both, so that the same batch has the same one."""

    files: Sequence[LabelledFile]
    images: Sequence[bytes]
    request_id: str


def files_of(paths: Sequence[Path], label: str | None) -> FileSet:
    """The images of a folder or a table, by its own labels; or of files and folders, all of one class, where `label` names it.

    Raises:
        DataError: they are laid out in no way that is known.

    """
    if label is not None:
        return FileSet([LabelledFile(file, label, name) for path in paths for file, name in _below(path)], [])
    files: list[LabelledFile] = []
    notes: list[str] = []
    for path in paths:
        if path.is_file() and path.suffix.lower() not in TABLES:
            raise DataError(f"which class {printable(str(path))} is of has to be said: add --label NAME, or name a folder")
        listing = list_images(path, skip_unusable=True, least_classes=1)
        root = os.fsencode(listing.root)
        train = np.flatnonzero(listing.parts == Part.TRAIN).tolist()
        for row in train:
            where, label_name = Path(os.fsdecode(listing.names.path(root, row))), listing.class_names[listing.labels[row]]
            files.append(LabelledFile(where, label_name, _source(path, listing.names[row])))
        if held_out := len(listing) - len(train) - len(listing.unlabelled):
            notes.append(f"left out: {held_out:,} images of the calibration and test parts")
        if count := len(listing.unlabelled):
            notes.append(f"left out: {count:,} images without a label")
        notes += listing.left_out.lines()
    return FileSet(files, notes)


def batches_of(files: Iterable[LabelledFile], limits: CallLimits, salt: str = "") -> Iterator[FileBatch]:
    """Read files, as many as a call may hold a batch. `salt` makes other request ids of the same files."""
    held: list[tuple[LabelledFile, bytes]] = []
    size = CALL_BYTES_BESIDE
    for file in files:
        image = file.path.read_bytes()
        weight = len(image) + len(file.label.encode()) + len(file.source.encode("utf-8", "surrogateescape")) + FILE_BYTES_BESIDE
        if held and (len(held) == limits.images or size + weight > limits.bytes):
            yield _batch(held, salt)
            held, size = [], CALL_BYTES_BESIDE
        held.append((file, image))
        size += weight
    if held:
        yield _batch(held, salt)


def _batch(held: Sequence[tuple[LabelledFile, bytes]], salt: str) -> FileBatch:
    digest = hashlib.sha256(salt.encode())
    for file, image in held:
        for part in (file.label.encode(), file.source.encode("utf-8", "surrogateescape"), image):
            digest.update(hashlib.sha256(part).digest())
    return FileBatch([file for file, _ in held], [image for _, image in held], f"add-{digest.hexdigest()[:40]}")


def _below(path: Path) -> Iterator[tuple[Path, str]]:
    """The files of a folder, hidden ones left out, or the file itself; and what each is called on the server."""
    if path.is_file():
        yield path, _source(path, path.name)
        return
    if not path.is_dir():
        raise DataError(f"there is no {printable(str(path))}: name a folder or image files")
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            yield file, _source(path, str(name))


def _source(path: Path, name: str) -> str:
    """The name within the folder, and that of the folder: "photos/lynx/1.jpg"."""
    outer = path.resolve()
    return printable(f"{(outer if outer.is_dir() else outer.parent).name}/{name}")
