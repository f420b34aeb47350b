"""What is looked at before a parser sees a bundle's files: that they lie in it, and have the hashes of the manifest."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from holdfast.errors import BundleError, HashMismatchError, MissingFileError
from holdfast.files import sha256_file
from holdfast.model.encoder.external_data import external_files
from holdfast.waiting import waiting

log = logging.getLogger(__name__)

GRAPH_SUFFIX = ".onnx"


def inside(directory: Path, name: str) -> Path:
    """Where a bundle's file lies. Raises BundleError for a name that leads out of it."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise BundleError(f"a bundle's file must lie inside it, not at {name!r}")
    return directory / relative


def verify_files(directory: Path, files: Mapping[str, str]) -> None:
    """Hash every file of a bundle, then look at which files its graphs read.

    Args:
        directory: the bundle.
        files: relative path -> SHA-256, as the manifest has them.

    Raises:
        MissingFileError: a file is not there.
        HashMismatchError: it holds other bytes.
        BundleError: it lies elsewhere, by its name or by a link, cannot be read, or a graph reads what no hash covers.

    """
    with waiting(log, f"verifying the hashes of {directory}"):
        for name, expected in files.items():
            try:
                _verify(directory, name, expected)
            except OSError as error:
                raise BundleError(f"{directory / name} cannot be read: {error.strerror or error}") from None
    for name in files:
        if name.endswith(GRAPH_SUFFIX):
            _refuse_unhashed(directory, name, files)


def _verify(directory: Path, name: str, expected: str) -> None:
    path = inside(directory, name)
    if not path.is_file():
        raise MissingFileError(f"{path} is missing, though the manifest names it; copy the whole bundle again")
    if not path.resolve().is_relative_to(directory.resolve()):
        raise BundleError(f"{path} is a link that leads out of the bundle: put the file itself in its place")
    actual = sha256_file(path)
    if actual != expected:
        raise HashMismatchError(
            f"{path} has sha256 {actual}, the manifest says {expected}; it was changed or damaged: copy the bundle again"
        )


def _refuse_unhashed(directory: Path, name: str, files: Mapping[str, str]) -> None:
    folder = PurePosixPath(name).parent
    for location in external_files(directory / name):
        if str(folder / location) not in files:
            raise BundleError(
                f"{directory / name} reads {location!r}, which the manifest has no hash of: export the encoder again"
            )


@contextmanager
def bounded_memory(directory: Path) -> Iterator[None]:
    """Whatever asks for more memory than there is makes the bundle one that cannot be opened."""
    try:
        yield
    except MemoryError:
        raise BundleError(f"{directory} asks for more memory than there is here: it is too large, or damaged") from None
