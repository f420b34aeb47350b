"""Labelled sets that are read as they are needed: memory does not grow with the images, only with labels and names.

splits = open_labelled("photos/", contract)
for first in range(0, len(splits.train), 256):
    batch = splits.train.read(np.arange(first, min(first + 256, len(splits.train))))
    batch.images, splits.train.labels[batch.rows], batch.faults
"""

from dataclasses import dataclass
from pathlib import Path

from holdfast.data.labelled import DataError, Splits
from holdfast.data.listing import list_images
from holdfast.data.sets import NATIVE_SIZES, input_kind, load, print_notes
from holdfast.data.sources import LabelledSource, ReadFault, ReadImages, StreamedArrays, StreamedFiles
from holdfast.data.speech.loading import count_recordings, read_voices
from holdfast.model.preprocess import MAX_PIXELS, InputContract

__all__ = [
    "LabelledSource",
    "ReadFault",
    "ReadImages",
    "StreamedArrays",
    "StreamedFiles",
    "StreamedSplits",
    "open_labelled",
]


WANTED = {"image": "images", "speech": "recordings"}


@dataclass(frozen=True, eq=False)
class StreamedSplits:
    """Three disjoint parts of one labelled set; see `holdfast.data.labelled.Splits`."""

    train: LabelledSource
    calibration: LabelledSource
    test: LabelledSource
    notes: tuple[str, ...] = ()
    """How the set was read and what was left out, a line each."""
    recordings: tuple[int, int] | None = None
    """Of the training and the calibration part, where a recording may be several images; None where each is one."""

    @property
    def drawn_calibration(self) -> int:
        """What `calibration` has to be to draw the same parts again."""
        return len(self.calibration) if self.recordings is None else self.recordings[1]

    @property
    def drawn_from(self) -> int:
        """What calibration images, or recordings, are drawn from: those of both parts."""
        return len(self.train) + len(self.calibration) if self.recordings is None else sum(self.recordings)

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per label, the same in all three parts."""
        return self.train.class_names

    def part(self, name: str) -> LabelledSource:
        """The part called "train", "calibration" or "test". Raises KeyError for any other name."""
        return {"train": self.train, "calibration": self.calibration, "test": self.test}[name]


def open_labelled(
    data: str | Path,
    contract: InputContract,
    *,
    directory: Path | None = None,
    calibration: int | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    max_pixels: int = MAX_PIXELS,
    threads: int = 1,
    few_shot: bool = False,
    quiet: bool = False,
) -> StreamedSplits:
    """Open a labelled set without reading its images, split as `holdfast.data.load` splits it.

    Args:
        data: a folder of class folders, a .csv or .parquet table of paths and labels, or the name of a built-in set (a folder
            of that name is "./NAME"). For an encoder that takes recordings it is a folder of SPEAKER/*.wav.
        contract: what images are fitted to.
        directory: where a built-in set lies; without it cifar10 is downloaded.
        calibration: images held out of the training part, each class in its proportion; by default as many as
            `holdfast.data.load` holds out.
        seed: of the split.
        skip_unreadable: leave out what is meant to be an image and cannot be one, as far as that is seen without decoding it.
        max_pixels: the largest width x height that is decoded.
        threads: that decode at once.
        few_shot: hold out only what the set itself holds out; for folders and tables.
        quiet: do not say on stderr how the set was read.

    Raises:
        DataError: there is no such set, or it cannot be used as it lies.

    """
    if isinstance(data, str) and data in NATIVE_SIZES:
        if input_kind(data) != contract.kind:
            raise DataError(f"the encoder takes {WANTED[contract.kind]}, and {data} is a set of {WANTED[input_kind(data)]}")
        splits = load(data, directory=directory, size=NATIVE_SIZES[data], calibration=calibration, seed=seed)
        return _in_memory(splits, contract)
    if contract.kind == "speech":
        splits = read_voices(Path(data), contract.height, seed=seed, calibration=calibration, skip_unreadable=skip_unreadable)
        if not quiet:
            print_notes(splits.notes)
        return _in_memory(splits, contract)
    listing = list_images(Path(data), skip_unusable=skip_unreadable)
    rows = listing.split(calibration=calibration, seed=seed, few_shot=few_shot)
    files = StreamedFiles.of(listing, contract, max_pixels=max_pixels, threads=threads)
    notes = tuple(listing.describe(rows))
    if not quiet:
        print_notes(notes)
    train, held, test = (files.select(part) for part in rows)
    return StreamedSplits(train, held, test, notes)


def _in_memory(splits: Splits, contract: InputContract) -> StreamedSplits:
    arrays = [StreamedArrays(part, contract) for part in (splits.train, splits.calibration, splits.test)]
    recordings = None
    if contract.kind == "speech":
        recordings = count_recordings(splits.train.sources), count_recordings(splits.calibration.sources)
    return StreamedSplits(arrays[0], arrays[1], arrays[2], splits.notes, recordings)
