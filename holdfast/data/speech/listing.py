"""WAV files with their speakers: free spoken digits, and folders SPEAKER/*.wav, listed and split before one is read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.printable import printable
from holdfast.data.labelled import DataError, draw
from holdfast.data.listing.listing import TEST_SHARE, Rows, default_calibration
from holdfast.data.listing.parts import LABELLED, UNLABELLED_NAMES, Part, parts_among

DIGIT = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[^_]+)_(?P<number>[0-9]+)\.wav", re.ASCII)
OFFICIAL_TEST = 5
"""Recordings 0 to 4 of each speaker and digit are the test part of free spoken digits."""

SUFFIX = ".wav"


@dataclass(frozen=True, eq=False)
class RecordingListing:
    """Recordings with their speakers.

    Attributes:
        root: the folder that names are relative to.
        names: of the files [N].
        labels: int64 [N], their speakers.
        parts: uint8 [N], values of Part; a set without parts is all TRAIN.
        class_names: one name per speaker.

    """

    root: Path
    names: tuple[str, ...]
    labels: Rows
    parts: NDArray[np.uint8]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def split(self, *, calibration: int | None, seed: int) -> tuple[Rows, Rows, Rows]:
        """Rows of train, calibration and test, int64 each: whole recordings, so that windows of one are in one part.

        A part that the set has is kept. Else a fifth of each speaker's recordings is drawn by `seed` for the test part, and
        `calibration` of what remains, by default a tenth and at most 1,000.

        Raises:
            DataError: there are not so many.

        """
        train, held, test = (np.flatnonzero(self.parts == part) for part in LABELLED)
        if not len(test):
            train, test = self._drawn(train, round(TEST_SHARE * len(train)), seed)
        if not len(held):
            train, held = self._drawn(train, default_calibration(len(train)) if calibration is None else calibration, seed)
        elif calibration is not None:
            if calibration > len(held):
                raise DataError(f"{calibration} calibration recordings were asked for, but that part has {len(held)}")
            held = np.sort(np.random.default_rng(seed).permutation(held)[:calibration])
        return train, held, test

    def _drawn(self, rows: Rows, count: int, seed: int) -> tuple[Rows, Rows]:
        drawn = draw(self.labels[rows], len(self.class_names), count, seed)
        return rows[~drawn], rows[drawn]


def _listed(root: Path, found: Sequence[tuple[str, str, Part]]) -> RecordingListing:
    """A listing of (speaker, name, part), in the order of speakers and names."""
    speakers = tuple(sorted({speaker for speaker, _, _ in found}))
    labels = {speaker: label for label, speaker in enumerate(speakers)}
    rows = sorted(found, key=lambda row: (row[2], labels[row[0]], row[1]))
    listing = RecordingListing(
        root,
        tuple(name for _, name, _ in rows),
        np.array([labels[speaker] for speaker, _, _ in rows], dtype=np.int64),
        np.array([part for _, _, part in rows], dtype=np.uint8),
        tuple(printable(speaker) for speaker in speakers),
    )
    present = np.bincount(listing.labels[listing.parts == Part.TRAIN], minlength=len(speakers))
    if bare := [speakers[label] for label in np.flatnonzero(present == 0)[:10]]:
        raise DataError(f"{printable(str(root))}: no training recordings of {', '.join(bare)}")
    return listing


def list_digits(directory: Path) -> RecordingListing:
    """List free spoken digits: DIR/{digit}_{speaker}_{number}.wav, or in DIR/recordings; numbers 0 to 4 are the test part.

    Raises:
        DataError: there are none.

    """
    nested = directory / "recordings"
    root = nested if nested.is_dir() else directory
    found = []
    for path in root.iterdir() if root.is_dir() else ():
        if (name := DIGIT.fullmatch(path.name)) is not None:
            part = Part.TEST if int(name["number"]) < OFFICIAL_TEST else Part.TRAIN
            found.append((name["speaker"], path.name, part))
    if len({speaker for speaker, _, _ in found}) < 2:
        raise DataError(
            f"{printable(str(directory))} holds no free spoken digits, {{digit}}_{{speaker}}_{{number}}.wav of two speakers or"
            " more: fetch https://github.com/Jakobovski/free-spoken-digit-dataset and name its folder by --data-dir"
        )
    return _listed(root, found)


def _is_recording(path: Path) -> bool:
    return path.suffix.lower() == SUFFIX and not path.name.startswith(".") and path.is_file()


def list_voices(directory: Path) -> RecordingListing:
    """List the recordings of DIR/SPEAKER/*.wav, at any depth below a speaker, or DIR/{train,val,test}/SPEAKER/*.wav.

    Hidden files and files of other kinds are passed over.

    Raises:
        DataError: there is no such folder, or there are recordings of fewer than two speakers in it.

    """
    if not directory.is_dir():
        raise DataError(f"there is no folder {printable(str(directory))}: name one that holds SPEAKER/*.wav")
    below = sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
    if any(path.name.lower() in UNLABELLED_NAMES for path in below):
        raise DataError(
            f"{printable(str(directory))}: recordings without a speaker are not used yet: move that folder elsewhere"
        )
    parts = parts_among(path.name.encode("utf-8", "surrogateescape") for path in below)
    named = [(parts.get(path.name.encode("utf-8", "surrogateescape")), path) for path in below]
    if not any(part is Part.TRAIN for part, _ in named):
        named = [(None, path) for _, path in named]
    found: list[tuple[str, str, Part]] = []
    for part, path in named:
        for speaker in [path] if part is None else sorted(each for each in path.iterdir() if each.is_dir()):
            names = (each.relative_to(directory).as_posix() for each in speaker.rglob("*") if _is_recording(each))
            found += [(speaker.name, name, part or Part.TRAIN) for name in names]
    if len(speakers := sorted({speaker for speaker, _, _ in found})) < 2:
        of = f"of {speakers[0]} alone" if speakers else "in folders of their speakers"
        raise DataError(
            f"{printable(str(directory))} holds {len(found)} WAV files {of}: put the recordings of each of two speakers or more"
            " in a folder SPEAKER/ of their own"
        )
    return _listed(directory, found)
