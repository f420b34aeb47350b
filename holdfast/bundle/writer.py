"""Writing bundles. No other package writes one."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Self

from holdfast.bundle.manifest import Manifest
from holdfast.bundle.reader import ENCODER, MANIFEST, read_manifest
from holdfast.bundle.verification import inside
from holdfast.errors import BundleError
from holdfast.files import make_directory, replace_atomically, sha256_file, sync, write_atomically

log = logging.getLogger(__name__)


class BundleWriter:
    """Writes a bundle's files aside and its manifest last, so that a reader sees the old bundle or the new one.

    Between the first `add` and `commit`, files and manifest may disagree; opening then fails with a clear hash error, and
    never serves a mixture.
    """

    def __init__(self, directory: Path, files: dict[str, str]) -> None:
        self.directory = Path(directory)
        self._files = files
        self._dropped: set[str] = set()

    @classmethod
    def create(cls, directory: Path) -> Self:
        """Start a new bundle. The directory is made; a manifest that is there already is removed by `commit` only.

        Raises:
            BundleError: the directory holds something that is not a bundle.

        """
        directory = Path(directory)
        if directory.exists() and (not directory.is_dir() or (any(directory.iterdir()) and not _is_ours(directory))):
            raise BundleError(f"{directory} exists and is not a bundle; choose another directory")
        make_directory(directory)
        return cls(directory, {})

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Complete or change a bundle that is there; its files are kept."""
        return cls(Path(directory), dict(read_manifest(Path(directory)).files))

    def add(self, name: str, write: Callable[[Path], object]) -> None:
        """Write one file: `write` gets a temporary path to write to, which then takes the name atomically."""
        target = inside(self.directory, name)
        with replace_atomically(target) as temporary:
            write(temporary)
        self._files[name] = sha256_file(target)
        self._dropped.discard(name)

    def adopt(self, name: str, source: Path) -> None:
        """Take one file of another bundle: the same file under a further name where that can be had, else a copy."""
        target = inside(self.directory, name)
        make_directory(target.parent)
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(source)
        except OSError:  # another file system, or one without links
            self.add(name, lambda path: shutil.copyfile(source, path))
        else:
            sync(target.parent)
            self._files[name] = sha256_file(target)

    def drop(self, name: str) -> None:
        """Leave one file out of the next manifest, and delete it once that is written. Nothing happens if there is none."""
        if self._files.pop(name, None) is not None:
            self._dropped.add(name)

    def commit(self, manifest: Manifest) -> Manifest:
        """Write manifest.json with the hash of every file, and then delete those that were dropped.

        The manifest's rename decides: a dropped file that cannot be deleted is left behind, unnamed, and a warning says so.

        Returns:
            The manifest as written.

        """
        complete = manifest.model_copy(update={"files": dict(sorted(self._files.items()))})
        checked = Manifest.model_validate(complete.model_dump())
        write_atomically(self.directory / MANIFEST, checked.to_json())
        for name in self._dropped:
            try:
                inside(self.directory, name).unlink(missing_ok=True)
            except OSError as error:
                log.warning("%s is left behind, though no manifest names it: %s", self.directory / name, error.strerror)
        self._dropped.clear()
        return checked


def _is_ours(directory: Path) -> bool:
    """A bundle, or the beginnings of one that was cut short (a checkpoint folder may lie in it)."""
    return any((directory / name).exists() for name in (MANIFEST, ENCODER, "checkpoint", "log.csv"))
