"""What an evaluation takes from a bundle's manifest, and what it leaves there."""

from pathlib import Path

from holdfast.bundle.manifest import Manifest
from holdfast.bundle.reader import read_manifest
from holdfast.bundle.writer import BundleWriter
from holdfast.data import LabelledImages, Splits, load_verified
from holdfast.evaluation.result import Evaluation


def unseen_images(manifest: Manifest, directory: Path | None = None) -> LabelledImages:
    """The test part of the data set that a bundle was made from. Raises as `recorded_splits` does."""
    return recorded_splits(manifest, directory).test


def recorded_splits(manifest: Manifest, directory: Path | None = None) -> Splits:
    """The data set that a bundle's exemplars are of, split as it was then; see `holdfast.data.load_verified`.

    Raises:
        DataError: the set is not there, or it is another one: test images may be among the exemplars.

    """
    return load_verified(manifest, directory)


def record(directory: Path, evaluation: Evaluation) -> None:
    """Write the measured accuracy into the manifest of the bundle in `directory`; nothing where there is none to record."""
    if evaluation.accuracy is None:
        return
    manifest = read_manifest(directory)
    BundleWriter.open(directory).commit(manifest.model_copy(update={"accuracy": evaluation.accuracy}))
