"""Labelled image files, in calls that can be sent again."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from holdfast.client.messages import CallLimits
from holdfast.data.labelled import DataError
from holdfast.data.listing import TABLES, EncodedFiles, list_images, printable
from holdfast.data.listing.parts import Part
from holdfast.data.speech.loading import MOST_BYTES, MOST_SECONDS
from holdfast.errors import ImageError
from holdfast.model.speech.recordings import check_length, pieces
from holdfast.model.speech.wav import cut_wav, read_header

CALL_BYTES_BESIDE, FILE_BYTES_BESIDE = 80, 24
"""Bytes, at most, of a call beside its files, and of one file beside its bytes and names."""


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """An image file, the name of its class, and what it is called on the server; or the frames [start, stop) of a recording."""

    path: Path
    label: str
    source: str
    frames: tuple[int, int] | None = None

    def read(self) -> bytes:
        """Its bytes, or those of a file of its frames alone."""
        if self.frames is None:
            return self.path.read_bytes()
        encoded = _recording(self.path, self.path.stat().st_mtime_ns)
        return cut_wav(encoded, read_header(encoded), *self.frames)


@dataclass(frozen=True, slots=True)
class FileSet:
    """Files to be added.

    Attributes:
        files: these.
        notes: what was left out of the folder that they are in, a line each.
        refused: files that no server will be asked about, and what is wrong with them.

    """

    files: Sequence[LabelledFile]
    notes: Sequence[str]
    refused: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Some of them, with their bytes; the request id is made of both, so that the same batch has the same one."""

    files: Sequence[LabelledFile]
    images: Sequence[bytes]
    request_id: str


def files_of(paths: Sequence[Path], label: str | None) -> FileSet:
    """The images of a folder or a table, or the recordings of a folder SPEAKER/*.wav, by its own labels.

    Or files and folders, all of one class, where `label` names it.

    Raises:
        DataError: they are laid out in no way that is known.

    """
    if label is not None:
        return _in_pieces([LabelledFile(file, label, name) for path in paths for file, name in _below(path)])
    files: list[LabelledFile] = []
    notes: list[str] = []
    refused: list[tuple[str, str]] = []
    for path in paths:
        if path.is_file() and path.suffix.lower() not in TABLES:
            raise DataError(f"which class {printable(str(path))} is of has to be said: add --label NAME, or name a folder")
        if recordings := _recordings(path):
            cut = _in_pieces(recordings)
            files += cut.files
            refused += cut.refused
            continue
        listing = list_images(path, skip_unusable=True, least_classes=1)
        if not isinstance(encoded := listing.encoded, EncodedFiles):
            raise DataError(f"{printable(str(path))} is of shards: unpack them, as exemplars are added from files")
        train = np.flatnonzero(listing.parts == Part.TRAIN).tolist()
        for row in train:
            where, label_name = Path(os.fsdecode(encoded.path(row))), listing.class_names[listing.labels[row]]
            files.append(LabelledFile(where, label_name, _source(path, listing.names[row])))
        if held_out := len(listing) - len(train) - len(listing.unlabelled):
            notes.append(f"left out: {held_out:,} images of the calibration and test parts")
        if count := len(listing.unlabelled):
            notes.append(f"left out: {count:,} images without a label")
        notes += listing.left_out.lines()
    return FileSet(files, notes, refused)


def batches_of(files: Iterable[LabelledFile], limits: CallLimits, salt: str = "") -> Iterator[FileBatch]:
    """Read files, as many as a call may hold a batch. `salt` makes other request ids of the same files."""
    held: list[tuple[LabelledFile, bytes]] = []
    size = CALL_BYTES_BESIDE
    for file in files:
        image = file.read()
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


def _recordings(path: Path) -> list[LabelledFile]:
    """The recordings of a folder SPEAKER/*.wav, by speaker; none where there are none."""
    if not path.is_dir():
        return []
    named = ((file, name, file.relative_to(path).parts) for file, name in _below(path) if file.suffix.lower() == ".wav")
    return [LabelledFile(file, printable(parts[0]), name) for file, name, parts in named if len(parts) > 1]


def _in_pieces(files: Sequence[LabelledFile]) -> FileSet:
    """Recordings in parts of one window each, but for those that are too long; any other file as it is."""
    found: list[LabelledFile] = []
    refused: list[tuple[str, str]] = []
    for file in files:
        try:
            found += _pieces(file)
        except ImageError as error:
            refused.append((str(file.path), error.reason))
    return FileSet(found, [], refused)


def _pieces(file: LabelledFile) -> list[LabelledFile]:
    """A recording in its parts; what is none, or cannot be read, as it is. Raises ImageError for one that is too long."""
    if file.path.suffix.lower() != ".wav":
        return [file]
    encoded = file.path.read_bytes()
    try:
        header = read_header(encoded)
    except ImageError:
        return [file]  # the server says what is wrong with it
    check_length(encoded, header, max_seconds=MOST_SECONDS, max_bytes=MOST_BYTES)
    parts = pieces(header)
    if len(parts) == 1:
        return [file]
    return [replace(file, source=f"{file.source}#{start / header.rate:.2f}", frames=(start, stop)) for start, stop in parts]


@lru_cache(maxsize=1)
def _recording(path: Path, changed: int) -> bytes:  # noqa: ARG001 - a file that has changed is read again
    """The bytes of a file of which parts are read one after the other."""
    return path.read_bytes()


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
