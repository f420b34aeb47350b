"""Recordings as arrays: of samples, and of labelled pictures."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from holdfast.bundle.printable import printable
from holdfast.console import Console, Progress
from holdfast.data.labelled import DataError, LabelledImages, Splits
from holdfast.data.listing.listing import Rows
from holdfast.data.speech.listing import RecordingListing, list_digits, list_voices
from holdfast.errors import ImageError
from holdfast.model.speech.pictures import FRAMES, HOP, MELS, RATE, Samples, pictures, resample
from holdfast.model.speech.recordings import check_length
from holdfast.model.speech.wav import read_header, read_samples

MOST_SECONDS = 600.0
"""Of one recording of a set; it becomes a picture for each second."""

MOST_BYTES = 2**28
NAMED_AT_MOST = 10
WINDOW_NAME = re.compile(r"#[0-9]+\.[0-9]{2}\Z")
"""At the end of a source that is one of several windows: at which second it begins."""

SHOWN_FROM = 1_000  # files: below that a progress bar only flickers


def samples_of(path: Path) -> Samples:
    """The samples of a WAV file at 8 kHz: float32 [n].

    Raises:
        ImageError: it is no recording, or longer than MOST_SECONDS.
        OSError: it cannot be read.

    """
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ImageError("audio", f"has {size} bytes; the limit is {MOST_BYTES}")
    wav = path.read_bytes()
    header = read_header(wav)
    check_length(wav, header, max_seconds=MOST_SECONDS, max_bytes=MOST_BYTES)
    return resample(read_samples(wav, header), header.rate)


def read_fsdd(directory: Path | None, size: int, *, seed: int, calibration: int | None, skip_unreadable: bool) -> Splits:
    """Free spoken digits, labelled by their six speakers: pictures uint8 [N, 64, 64, 3].

    Source: Z. Jackson et al., Free Spoken Digit Dataset, CC BY-SA 4.0, https://github.com/Jakobovski/free-spoken-digit-dataset
    """
    if directory is None:
        raise DataError(
            "fsdd is read from a folder: fetch https://github.com/Jakobovski/free-spoken-digit-dataset, and name it by"
            " --data-dir"
        )
    refuse_size(size)
    nested = directory / "fsdd"
    listing = list_digits(nested if nested.is_dir() else directory)
    return labelled_splits(listing, size, seed=seed, calibration=calibration, skip_unreadable=skip_unreadable)


def read_voices(directory: Path | None, size: int, *, seed: int, calibration: int | None, skip_unreadable: bool) -> Splits:
    """A folder of SPEAKER/*.wav, labelled by speaker: pictures uint8 [N, 64, 64, 3], one for each window of about a second."""
    if directory is None:
        raise DataError("the data set 'voices' needs --data-dir with a folder of SPEAKER/*.wav")
    return labelled_splits(list_voices(directory), size, seed=seed, calibration=calibration, skip_unreadable=skip_unreadable)


def refuse_size(size: int) -> None:
    """Raise DataError where pictures of another size are asked for than there are."""
    if size not in {MELS, FRAMES}:
        raise DataError(f"pictures of speech are {MELS} x {FRAMES}: train with --encoder.image-size {MELS}")


def labelled_splits(
    listing: RecordingListing, size: int, *, seed: int, calibration: int | None, skip_unreadable: bool
) -> Splits:
    """The three parts as labelled pictures.

    Raises:
        DataError: another size than 64, too few recordings, or files that are no recordings (unless `skip_unreadable`: then
            they are counted and left out).

    """
    refuse_size(size)
    rows = listing.split(calibration=calibration, seed=seed)
    unreadable: list[str] = []
    shown = Progress(console=Console(stderr=True), transient=True, disable=len(listing) < SHOWN_FROM)
    with shown as progress:
        train, held, test = (labelled(listing, part, unreadable, progress) for part in rows)
    windows = f"{len(train)} train, {len(held)} calibration, {len(test)} test"
    notes = [
        f"{printable(str(listing.root))}: {len(listing.class_names)} speakers, {len(listing)} recordings in windows: {windows}"
    ]
    if unreadable:
        named = "\n  ".join(sorted(unreadable)[:NAMED_AT_MOST])
        more = f"\n  and {len(unreadable) - NAMED_AT_MOST} more" if len(unreadable) > NAMED_AT_MOST else ""
        said = f"{len(unreadable)} of {len(listing)} files are no usable recordings:\n  {named}{more}"
        if not skip_unreadable:
            raise DataError(f"{said}\nRemove or convert them, or leave them out by --skip-unreadable.")
        notes.append(f"skipped: {said}")
    if missing := [listing.class_names[label] for label in sorted(set(range(len(listing.class_names))) - set(train.labels))]:
        raise DataError(f"{printable(str(listing.root))}: no usable training recordings of {', '.join(missing)}")
    return Splits(train, held, test, drawn=len(rows[1]), notes=tuple(notes))


def labelled(listing: RecordingListing, rows: Rows, unreadable: list[str], progress: Progress) -> LabelledImages:
    """Pictures of the recordings at `rows`; what cannot be read is named in `unreadable`."""
    found = [np.zeros((0, MELS, FRAMES, 3), np.uint8)]
    labels: list[int] = []
    sources: list[str] = []
    task = progress.add_task("reading", total=len(rows))
    for row in rows.tolist():
        name = listing.names[row]
        try:
            some = pictures(samples_of(listing.root / name))
        except (ImageError, OSError) as error:
            reason = error.reason if isinstance(error, ImageError) else error.strerror or str(error)
            unreadable.append(f"{printable(name)} {reason}")
        else:
            found.append(some)
            labels += [int(listing.labels[row])] * len(some)
            sources += [printable(name)] if len(some) == 1 else [window_name(name, at) for at in range(len(some))]
        progress.advance(task)
    return LabelledImages(np.concatenate(found), np.array(labels, dtype=np.int64), listing.class_names, sources)


def window_name(name: str, window: int) -> str:
    """A window of a recording as a source: the file's name, and at which second it begins."""
    return f"{printable(name)}#{window * FRAMES * HOP / RATE:.2f}"


def count_recordings(sources: Sequence[str]) -> int:
    """How many recordings windows are of, by their sources."""
    return len({WINDOW_NAME.sub("", source) for source in sources})
