"""A folder of class folders, or a table of paths and labels, read into memory."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.console import Console, Progress
from holdfast.data.labelled import DataError, LabelledImages, Size, Splits, contract_of
from holdfast.data.listing import ImageListing, list_images
from holdfast.data.sources import StreamedFiles
from holdfast.model.preprocess import MAX_PIXELS

NAMED_AT_MOST = 10
SHOWN_FROM = 1_000  # files: below that a progress bar only flickers
AT_ONCE = 256


def read(
    directory: Path | None,
    size: Size,
    *,
    seed: int,
    calibration: int | None = None,
    skip_unreadable: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Splits:
    """Return the parts of uint8 [N, height, width, 3]; images of any size are fitted by the input contract.

    Raises:
        DataError: the set cannot be listed (see `holdfast.data.listing.list_images`), or files are no images (unless
            `skip_unreadable`: then they are counted and left out).

    """
    if directory is None:
        raise DataError("the data set 'folder' needs --data-dir with a folder of class folders, or a .csv table")
    listing = list_images(directory, skip_unusable=skip_unreadable)
    rows = listing.split(calibration=calibration, seed=seed)
    files = StreamedFiles.of(listing, contract_of(size), max_pixels=max_pixels)
    unreadable: list[str] = []
    shown = Progress(console=Console(stderr=True), transient=True, disable=len(files) < SHOWN_FROM)
    with shown as progress:
        train, held, test = (_load(files.select(part), unreadable, progress) for part in rows)
        others = _load(files.select(listing.unlabelled), unreadable, progress)
    skipped = refuse_unreadable(unreadable, len(files), skip=skip_unreadable)
    refuse_empty(listing, train.labels)
    notes = (*listing.describe(rows), *skipped)
    return Splits(train, held, test, drawn=len(rows[1]), notes=notes, unlabelled=others if len(others) else None)


def _load(files: StreamedFiles, unreadable: list[str], progress: Progress) -> LabelledImages:
    """Read a part as far as it can be read."""
    images = np.empty((len(files), *files.contract.shape), dtype=np.uint8)
    kept: list[int] = []
    task = progress.add_task("reading", total=len(files))
    for first in range(0, len(files), AT_ONCE):
        read = files.read(np.arange(first, min(first + AT_ONCE, len(files))))
        images[len(kept) : len(kept) + len(read.rows)] = read.images
        kept += read.rows.tolist()
        unreadable += [f"{files.sources[fault.row]}: {fault.reason}" for fault in read.faults]
        progress.advance(task, len(read.rows) + len(read.faults))
    labels, sources = files.labels[kept], [files.sources[row] for row in kept]
    return LabelledImages(images[: len(kept)], labels, files.class_names, sources)


def refuse_empty(listing: ImageListing, labels: NDArray[np.int64]) -> None:
    """Raises DataError where a class of the listing has none of the training images that can be read, of `labels` int64 [n]."""
    counts = np.bincount(labels, minlength=len(listing.class_names))
    if empty := [name for name, count in zip(listing.class_names, counts.tolist(), strict=True) if not count]:
        raise DataError(f"{listing.title}: no readable training images of {', '.join(empty)}")


def refuse_unreadable(unreadable: list[str], total: int, *, skip: bool) -> list[str]:
    """What is said of images that cannot be read, "name: reason" each, where they are skipped.

    Raises:
        DataError: there are some, and they are not skipped.

    """
    if not unreadable:
        return []
    named = "\n  ".join(sorted(unreadable)[:NAMED_AT_MOST])
    more = f"\n  and {len(unreadable) - NAMED_AT_MOST} more" if len(unreadable) > NAMED_AT_MOST else ""
    summary = f"{len(unreadable)} of {total} files are not readable images:\n  {named}{more}"
    if not skip:
        raise DataError(f"{summary}\nRemove them, or leave them out by --skip-unreadable.")
    return [f"skipped: {summary}"]
