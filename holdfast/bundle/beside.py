"""A new bundle beside an old one, which appears whole, by a rename, or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from holdfast.bundle.reader import Bundle
from holdfast.bundle.writer import BundleWriter
from holdfast.errors import BundleError
from holdfast.files import make_directory, sync


class BundleBeside:
    """A bundle in the making. What is worked on lies in a hidden folder beside its place until `publish`.

    Attributes:
        out: where the bundle will be.
        work: for whatever has to survive an interruption; removed by `publish`.

    """

    def __init__(self, out: Path, folder: Path) -> None:
        self.out, self.work, self._bundle = out, folder / "work", folder / "bundle"
        self._folder = folder

    def writer(self) -> BundleWriter:
        """Begins the bundle, anew if an earlier run began it."""
        shutil.rmtree(self._bundle, ignore_errors=True)
        return BundleWriter.create(self._bundle)

    def publish(self) -> None:
        """Give the bundle its place, once its manifest is written.

        Raises:
            BundleError: something has come to be there meanwhile.

        """
        refuse_taken(self.out)
        self._bundle.rename(self.out)
        sync(self.out.parent)
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def bundle_beside(old: Path, out: Path) -> Iterator[BundleBeside]:
    """Make a bundle at `out`; what was done so far is kept for the next run where it is not published.

    Args:
        old: the bundle that it is made from, which stays as it is.
        out: where there is nothing yet.

    Raises:
        BundleError: there is something at `out`, it lies in the old bundle, or another process is making it.

    """
    out = Path(out)
    if out.resolve() == old.resolve():
        raise BundleError(f"{out} is the bundle itself, which stays as it is: name another directory by --out")
    if old.resolve() in out.resolve().parents:
        raise BundleError(f"{out} lies in the bundle {old}, which stays as it is: name another directory by --out")
    refuse_taken(out)
    folder = out.parent / f".{out.name}.index_build"
    make_directory(folder)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise BundleError(f"another process is making {out}: wait for it, or name another directory by --out") from None
        yield BundleBeside(out, folder)
    finally:
        os.close(lock)


def refuse_taken(out: Path) -> None:
    """Raises BundleError where there is something at `out` other than an empty folder."""
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise BundleError(f"{out} is there already: remove it, or name another directory by --out")


def adopt_files(writer: BundleWriter, bundle: Bundle, without: set[str]) -> None:
    """Take over an open bundle's files, encoder and gradients above all.

    They become further names of the same files where the file system can do that, and copies elsewhere.

    Args:
        writer: of the new bundle.
        bundle: the old one, whose hashes were verified when it was opened.
        without: names that stay behind.

    """
    for name in bundle.manifest.files.keys() - without:
        writer.adopt(name, bundle.directory / name)
