"""The labelled set that a bundle's manifest names, read again."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from holdfast.bundle.manifest import DataRecord, IndexedSet, Manifest
from holdfast.data.digest import PartDigest, image_digests
from holdfast.data.labelled import DataError, LabelledImages, Splits
from holdfast.data.sets import load
from holdfast.data.sources import LabelledSource
from holdfast.data.streamed import open_labelled
from holdfast.data.streaming.survey import in_order
from holdfast.data.streaming.training import MEMORY_GB, StreamedPart, StreamedTraining, TrainingSplits, open_if_large
from holdfast.model.preprocess import InputContract

READ_AT_ONCE = 256
PICTURED = 50_000
"""Images of a training part that are read: pictures of exemplars are made of them. Of a larger part none is."""


def load_verified(manifest: Manifest, directory: Path | None = None, *, memory: float = MEMORY_GB) -> Splits:
    """Read and split the set that a bundle's exemplars are of, as it was then, with the labels of the bundle's classes.

    It is the encoder's own set, or the one that the index was built from since, of which a large training part is left out.

    Args:
        manifest: of the bundle.
        directory: where the set lies, if not where it was.
        memory: GB that the decoded images of the encoder's own set may take; of a larger one its test and calibration part are
            kept, and its training part where that has at most PICTURED images.

    Raises:
        DataError: the set is not there, or not the same: test images may be among the exemplars.

    """
    index = manifest.index
    if index is not None and index.data is not None:
        return _load_indexed(index.data, index.renamed, manifest.class_names, manifest.input, directory)
    source = manifest.trained.data
    splits = open_recorded(manifest, directory, memory=memory)
    if splits.sha256 != source.sha256:
        raise DataError(
            f"the {source.name} images here have sha256 {splits.sha256}, the bundle was trained on {source.sha256};"
            " name the directory of the right ones by --data-dir"
        )
    if isinstance(splits, StreamedTraining):
        with closing(splits):
            splits = _held_out(splits)
    if index is None or not (index.renamed or splits.class_names != manifest.class_names):
        return splits
    parts = [_relabelled(part, index.renamed, manifest.class_names) for part in (splits.train, splits.calibration, splits.test)]
    return Splits(parts[0], parts[1], parts[2])


def load_recorded(manifest: Manifest, directory: Path | None = None) -> Splits:
    """Read and split the set that an encoder was trained on, as the trainer did.

    The caller holds `Splits.sha256` against the manifest's, and decides what to do where these are other images.

    Args:
        manifest: of the bundle.
        directory: where the set lies, if not where the trainer found it.

    Raises:
        DataError: the set is not there.

    """
    record, contract = manifest.trained.data, manifest.input
    return load(
        record.name,
        directory=_place_of(record, directory),
        size=contract.fitting,
        calibration=record.calibration,
        seed=record.seed,
        # Whether the trainer skipped unreadable files or there were none, the hash says if these are the same images.
        skip_unreadable=True,
        max_pixels=record.max_pixels,
        labels=record.labels,
        label_noise=record.label_noise,
    )


def open_recorded(
    manifest: Manifest, directory: Path | None = None, *, memory: float = MEMORY_GB, threads: int = 1
) -> TrainingSplits:
    """As `load_recorded`, but a folder, table or shards that would take more than `memory` GB are not read into memory.

    Args:
        manifest: of the bundle.
        directory: where the set lies, if not where the trainer found it.
        memory: GB that decoded images may take.
        threads: that do something else while processes decode.

    Raises:
        DataError: as `load_recorded`.

    """
    record = manifest.trained.data
    where = _place_of(record, directory)
    if record.name != "folder" or record.labels is not None or record.label_noise or where is None:
        return load_recorded(manifest, directory)
    streamed = open_if_large(
        where,
        manifest.input.fitting,
        memory=memory,
        threads=threads,
        calibration=record.calibration,
        seed=record.seed,
        skip_unreadable=True,
        max_pixels=record.max_pixels,
    )
    return streamed if streamed is not None else load_recorded(manifest, directory)


def _place_of(record: DataRecord, directory: Path | None) -> Path | None:
    """Where the set lies, as far as it is known here."""
    # A bundle may have come from elsewhere: what is not here may still be downloaded, or the loader says what it needs.
    recorded = Path(record.directory) if record.directory is not None else None
    return directory or (recorded if recorded and recorded.exists() else None)


def _load_indexed(
    record: IndexedSet, renamed: Mapping[str, str], classes: Sequence[str], contract: InputContract, directory: Path | None
) -> Splits:
    built_in = not Path(record.data).is_absolute()
    recorded = Path(record.directory) if record.directory is not None else None
    splits = open_labelled(
        record.data if built_in or directory is None else directory,
        contract,
        directory=directory or recorded if built_in else None,
        calibration=record.calibration,
        seed=record.seed,
        skip_unreadable=True,
        max_pixels=record.max_pixels,
        few_shot=record.few_shot,
        quiet=True,
    )
    test = _read(splits.test)
    digest = PartDigest()
    digest.update(image_digests(test.images), test.labels)
    if digest.hexdigest() != record.test_sha256:
        raise DataError(
            f"the test images of {record.data} are not those that were held out when the index was built ({len(test):,} now,"
            f" {record.test_images:,} then): some may be exemplars; name the directory of the same images by --data-dir, or"
            " build the index again with holdfast index"
        )
    train = splits.train if len(splits.train) <= PICTURED else splits.train.select(np.zeros(0, np.int64))
    parts = [_relabelled(part, renamed, classes) for part in (_read(train), _read(splits.calibration), test)]
    return Splits(parts[0], parts[1], parts[2])


def _held_out(streamed: StreamedTraining) -> Splits:
    """The parts that an evaluation attacks and calibrates by, in memory; and the training part where it is not large."""
    train = streamed.train if len(streamed.train) <= PICTURED else streamed.train.select(np.zeros(0, np.int64))
    held, test = _in_memory(streamed.calibration), _in_memory(streamed.test)
    return Splits(_in_memory(train), held, test, drawn=streamed.drawn_calibration)


def _in_memory(part: StreamedPart) -> LabelledImages:
    images = list(part.batches(in_order(np.arange(len(part)), READ_AT_ONCE)))
    empty = np.zeros((0, *part.source.contract.shape), np.uint8)
    return LabelledImages(np.concatenate([empty, *images]), part.labels, part.class_names, list(part.sources))


def _read(source: LabelledSource) -> LabelledImages:
    """All images of a source that can be read."""
    images, rows = [np.zeros((0, *source.contract.shape), np.uint8)], [np.zeros(0, np.int64)]
    for start in range(0, len(source), READ_AT_ONCE):
        read = source.read(np.arange(start, min(start + READ_AT_ONCE, len(source))))
        images.append(read.images)
        rows.append(read.rows)
    kept = np.concatenate(rows)
    return LabelledImages(
        np.concatenate(images), source.labels[kept], source.class_names, [source.sources[row] for row in kept.tolist()]
    )


def _relabelled(images: LabelledImages, renamed: Mapping[str, str], classes: Sequence[str]) -> LabelledImages:
    """The same images with the labels of the bundle's classes."""
    places = {name: label for label, name in enumerate(classes)}
    missing = [name for name in images.class_names if renamed.get(name, name) not in places]
    if missing:
        raise DataError(
            f"the set has a class {missing[0]}, which the bundle does not know: its classes are {', '.join(classes)}"
        )
    labels = np.array([places[renamed.get(name, name)] for name in images.class_names], dtype=np.int64)
    return LabelledImages(images.images, labels[images.labels], tuple(classes), images.sources)
