"""A labelled set to learn from that is not in memory: the parts of `holdfast.data.load`, read when they are asked for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.data.folder import refuse_empty, refuse_unreadable
from holdfast.data.labelled import DataError, LabelledImages, Size, Splits, contract_of, joint_sha256
from holdfast.data.listing import ImageListing, list_images
from holdfast.data.sets import print_notes
from holdfast.data.sources import Ints, StreamedFiles
from holdfast.data.streaming.pool import DecodingPool, default_decoders
from holdfast.data.streaming.survey import PartSurvey, survey
from holdfast.model.preprocess import MAX_PIXELS, Pixels

MEMORY_GB = 4.0
"""What the decoded images of a set may take in memory, where nobody says."""


@dataclass(frozen=True, eq=False)
class StreamedPart:
    """Images that were readable when they were surveyed.

    source: these. pool: decodes them. counts: int64 [3, 256], how often each value is in each channel of all of them.
    """

    source: StreamedFiles
    pool: DecodingPool
    counts: NDArray[np.int64]

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per label."""
        return self.source.class_names

    @property
    def labels(self) -> Ints:
        """int64 [N]."""
        return self.source.labels

    @property
    def sources(self) -> Sequence[str]:
        """Where each image comes from [N]."""
        return self.source.sources

    def __len__(self) -> int:
        return len(self.source)

    def select(self, rows: Ints) -> "StreamedPart":
        """The part of these rows alone, int64 [n]; its counts stay those of the whole."""
        return StreamedPart(self.source.select(rows), self.pool, self.counts)

    def pixels(self, rows: Ints) -> Pixels:
        """The images at `rows`, int64 [n]: uint8 [n, H, W, 3]. Raises as `batches`."""
        return next(self.batches([np.asarray(rows, dtype=np.int64)]))

    def batches(self, batches: Iterable[Ints]) -> Iterator[Pixels]:
        """The images of batches of rows, int64 [n] each, in their order; what comes next is decoded meanwhile.

        Raises:
            DataError: an image can no longer be read.

        """
        for read in self.pool.read(self.source, batches):
            if read.faults:
                fault = read.faults[0]
                raise DataError(
                    f"{self.source.sources[fault.row]} could be read when the run began, and cannot be now ({fault.reason}):"
                    " put it back as it was and go on with --resume, or begin anew"
                )
            yield read.images


@dataclass(frozen=True, eq=False)
class StreamedTraining:
    """A set of which no image is in memory. A context: the processes that decode end with it."""

    train: StreamedPart
    calibration: StreamedPart
    test: StreamedPart
    unlabelled: StreamedPart | None
    learned_from: StreamedPart
    sha256: str
    drawn_calibration: int

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per label."""
        return self.train.class_names

    def close(self) -> None:
        """End the processes that decode."""
        self.train.pool.close()


ImagePart = LabelledImages | StreamedPart
"""Images of a set with their labels, in memory or not."""

TrainingSplits = Splits | StreamedTraining
"""A labelled set, split, in memory or not."""


def open_training(
    directory: Path,
    size: Size,
    *,
    calibration: int | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    max_pixels: int = MAX_PIXELS,
    decoders: int = 1,
    quiet: bool = False,
) -> StreamedTraining:
    """Open a folder, table or shards to learn from: the parts and the hash of `holdfast.data.load`, and no image in memory.

    Args:
        directory: the folder, the table or the shard.
        size: as of `holdfast.data.load`.
        calibration: as of `holdfast.data.load`.
        seed: likewise.
        skip_unreadable: likewise.
        max_pixels: likewise.
        decoders: processes that decode; 0 decodes in the calling thread.
        quiet: do not say on stderr how the set was read.

    Raises:
        DataError: as `holdfast.data.load`.

    """
    listing = list_images(directory, skip_unusable=skip_unreadable)
    return open_listed(
        listing,
        size,
        calibration=calibration,
        seed=seed,
        skip_unreadable=skip_unreadable,
        max_pixels=max_pixels,
        decoders=decoders,
        quiet=quiet,
    )


def open_listed(
    listing: ImageListing,
    size: Size,
    *,
    calibration: int | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    max_pixels: int = MAX_PIXELS,
    decoders: int = 1,
    quiet: bool = False,
) -> StreamedTraining:
    """As `open_training`, of a set that has been listed."""
    rows = listing.split(calibration=calibration, seed=seed)
    whole = StreamedFiles.of(listing, contract_of(size), max_pixels=max_pixels)
    sources = [whole.select(part) for part in (*rows, listing.unlabelled)]
    pool = DecodingPool(decoders)
    try:
        found = survey(sources, pool)
        unreadable = [fault for part in found for fault in part.faults]
        skipped = refuse_unreadable(unreadable, len(whole), skip=skip_unreadable)
        train, held, test, others = (_readable(*each, pool) for each in zip(sources, found, strict=True))
        refuse_empty(listing, train.labels)
    except BaseException:
        pool.close()
        raise
    if not quiet:
        print_notes((*listing.describe(rows), *skipped, "images are read while they are learned from, not kept in memory"))
    if not len(others):
        sha256 = joint_sha256([part.sha256 for part in found[:3]])
        return StreamedTraining(train, held, test, None, train, sha256, len(rows[1]))
    both = np.concatenate([rows[0][found[0].rows], listing.unlabelled[found[3].rows]])
    learned_from = StreamedPart(whole.select(both), pool, found[0].counts + found[3].counts)
    sha256 = joint_sha256([part.sha256 for part in found])
    return StreamedTraining(train, held, test, others, learned_from, sha256, len(rows[1]))


def open_if_large(
    directory: Path | None,
    size: Size,
    *,
    memory: float,
    decoders: int | None = None,
    threads: int = 1,
    skip_unreadable: bool = False,
    **options: Any,
) -> StreamedTraining | None:
    """Open a folder, table or shards that would take more than `memory` GB in memory; None where it would not.

    Args:
        directory: of the set; None opens nothing.
        size: as of `holdfast.data.load`.
        memory: GB that decoded images may take.
        decoders: processes that decode; by default `default_decoders` of `threads`.
        threads: that do something else meanwhile.
        skip_unreadable: as of `open_training`.
        options: likewise.

    Raises:
        DataError: as `open_training`.

    """
    if directory is None:
        return None
    listing = list_images(directory, skip_unusable=skip_unreadable)
    if len(listing) * prod(contract_of(size).shape) <= memory * 1e9:
        return None
    processes = default_decoders(threads) if decoders is None else decoders
    return open_listed(listing, size, decoders=processes, skip_unreadable=skip_unreadable, **options)


def _readable(source: StreamedFiles, found: PartSurvey, pool: DecodingPool) -> StreamedPart:
    return StreamedPart(source.select(found.rows), pool, found.counts)
