"""Every error that a user is meant to read. Each message says what is wrong and what to do about it."""

import shlex
import sys
from importlib import metadata
from pathlib import Path


class HoldfastError(Exception):
    """The root of holdfast's own errors: programs print its message and exit with 2, without a traceback."""


class BundleError(HoldfastError):
    """A bundle that cannot be opened, completed or written."""


class MissingFileError(BundleError):
    """The directory, its manifest, or a file that the manifest names is not there."""


class HashMismatchError(BundleError):
    """A file's bytes are not the ones its manifest was written for."""


class SchemaMismatchError(BundleError):
    """The manifest has another schema version, or does not follow its schema."""


class ContractMismatchError(BundleError):
    """Two parts of a bundle do not fit: encoder and input contract, encoder and index, index and exemplars."""


class DeviceError(HoldfastError):
    """The GPU was asked for and cannot be used, or what was installed for one does not load; the message names all of it."""


class ImageError(HoldfastError):
    """An image that is refused.

    Args:
        field: what is at fault, as a path below the image: "encoded", "raw.shape", "raw.dtype", "raw.data".
        reason: one sentence for the caller.

    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class RetrieverUnavailableError(HoldfastError):
    """An index on another machine that does not answer now, and may answer again: worth another try."""


def install_command(extra: str) -> str:
    """Return the command line that installs an extra for the Python that runs this, such as "train".

    It names that Python, since the `pip` on a user's path may be of an environment that has no holdfast, and would fetch a
    package of the same name that is none of ours. Where this runs from a folder without having been installed, it names that.
    """
    try:
        metadata.version("holdfast")
        package = "holdfast"
    except metadata.PackageNotFoundError:
        package = str(Path(__file__).parents[1])
    return shlex.join([sys.executable, "-m", "pip", "install", f"{package}[{extra}]"])
