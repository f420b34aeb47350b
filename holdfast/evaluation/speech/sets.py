"""The labelled set of a bundle that listens, and which of its recordings are the test part."""

from pathlib import Path

from holdfast.bundle.manifest import Manifest
from holdfast.data.speech.listing import RecordingListing, list_digits, list_voices
from holdfast.errors import HoldfastError
from holdfast.model.answers import Ints


def test_recordings(manifest: Manifest, directory: Path | None) -> tuple[RecordingListing, Ints]:
    """The recordings of the set that the exemplars are of, and the rows int64 [n] of its test part.

    Args:
        manifest: of a bundle that listens.
        directory: where the set lies, if no longer where the manifest says.

    Raises:
        HoldfastError: the bundle looks at images, or nothing says where the set lies.
        DataError: there are no recordings.

    """
    if manifest.input.kind != "speech":
        raise HoldfastError(f"{manifest.name} looks at images: holdfast evaluate measures it")
    index, training = manifest.index, manifest.trained.data
    known = training if index is None or index.data is None else index.data
    name = training.name if index is None or index.data is None else index.data.data
    if directory is None and known.directory is None and not Path(name).is_dir():
        raise HoldfastError(f"{manifest.name} does not say where its recordings lie: name their folder by --data-dir")
    folder = directory or Path(known.directory or name)
    nested = folder / "fsdd"
    listing = list_digits(nested if nested.is_dir() else folder) if name == "fsdd" else list_voices(folder)
    _, _, test = listing.split(calibration=known.calibration, seed=known.seed)
    return listing, test
