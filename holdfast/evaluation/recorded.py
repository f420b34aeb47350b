"""What an evaluation takes from a bundle's manifest, and what it leaves there."""

from pathlib import Path

from holdfast.bundle.manifest import Manifest
from holdfast.bundle.reader import read_manifest
from holdfast.bundle.writer import BundleWriter
from holdfast.data import LabelledImages, Splits, load_recorded
from holdfast.errors import HoldfastError
from holdfast.evaluation.result import Evaluation


def unseen_images(manifest: Manifest, directory: Path | None = None) -> LabelledImages:
    """The test part of the data set that a bundle was made from. Raises as `recorded_splits` does."""
    return recorded_splits(manifest, directory).test


def recorded_splits(manifest: Manifest, directory: Path | None = None) -> Splits:
    """The data set that a bundle was made from, split as it was then.

    Raises:
        DataError: the set is not there.
        HoldfastError: it is there, but not the one the encoder was trained on: test images may be among its exemplars.

    """
    source = manifest.training.data
    splits = load_recorded(manifest, directory)
    if splits.sha256 != source.sha256:
        raise HoldfastError(
            f"the {source.name} images here have sha256 {splits.sha256}, the bundle was trained on {source.sha256};"
            " name the directory of the right ones by --data-dir"
        )
    return splits


def record(directory: Path, evaluation: Evaluation) -> None:
    """Write the measured accuracy into the manifest of the bundle in `directory`; nothing where there is none to record."""
    if evaluation.accuracy is None:
        return
    manifest = read_manifest(directory)
    BundleWriter.open(directory).commit(manifest.model_copy(update={"accuracy": evaluation.accuracy}))
