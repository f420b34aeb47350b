"""Where versions lie: a directory of them, or the one bundle whose directory is read again."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.bundle.reader import MANIFEST
from holdfast.errors import BundleError
from holdfast.server.settings import Settings
from holdfast.versions import is_version_name, natural

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Name, size, time of change in ns and inode of everything that lies in a directory: another one means that it was changed."""


@dataclass(frozen=True, slots=True)
class VersionPlace:
    """A directory that may hold a version; whether it is one is found out when it is opened."""

    name: str
    directory: Path

    def fingerprint(self) -> Fingerprint:
        """What lies there now. Empty where the directory is gone or cannot be read."""
        return tuple(sorted(_entries(self.directory)))


class VersionSource(Protocol):
    """Where versions lie."""

    def places(self) -> list[VersionPlace]:
        """All that there are now, the newest first. Raises BundleError where the directory cannot be read."""


@dataclass(frozen=True, slots=True)
class VersionsDirectory:
    """A directory whose child directories are versions, each a bundle; the newest is the last by name in natural order.

    A version appears whole, by the rename of a directory that was filled under another name. Names that begin with a dot or an
    underscore, or end as that of an unfinished copy (`holdfast.versions`), are no versions.
    """

    directory: Path

    def places(self) -> list[VersionPlace]:
        """All child directories that have a version's name, the newest first.

        Raises:
            BundleError: the directory is not there or cannot be read, or it is a bundle itself.

        """
        if (self.directory / MANIFEST).exists():
            raise BundleError(f"{self.directory} is itself a bundle: serve it by --bundle, or name the directory that holds it")
        try:
            with os.scandir(self.directory) as children:
                names = [child.name for child in children if is_version_name(child.name) and child.is_dir()]
        except OSError as error:
            raise BundleError(
                f"the directory of versions {self.directory} cannot be read: {error.strerror}; make it, and rename a bundle"
                " into it"
            ) from None
        return [VersionPlace(name, self.directory / name) for name in sorted(names, key=natural, reverse=True)]


@dataclass(frozen=True, slots=True)
class OneBundle:
    """The directory of one bundle. Where it is a link, the version is what the link leads to at the moment."""

    directory: Path

    def places(self) -> list[VersionPlace]:
        """The one place."""
        resolved = self.directory.resolve()
        return [VersionPlace(resolved.name, resolved)]


def source_of(settings: Settings) -> VersionSource:
    """Where the versions of these settings lie."""
    if settings.bundle_versions is not None:
        return VersionsDirectory(settings.bundle_versions)
    assert settings.bundle is not None  # noqa: S101 - settings have one of the two
    return OneBundle(settings.bundle)


def _entries(directory: Path) -> Iterator[tuple[str, int, int, int]]:
    try:
        with os.scandir(directory) as children:
            for child in children:
                found = child.stat()
                yield child.name, found.st_size, found.st_mtime_ns, found.st_ino
    except OSError:  # gone meanwhile, or a link that leads nowhere: then what was read so far is as good as any
        return
