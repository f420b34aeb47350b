"""A folder's tree as it lies on disk, with what is no part of a data set left out and counted."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.bundle.printable import printable
from holdfast.data.labelled import DataError
from holdfast.data.listing.formats import IMAGE, OTHER_FORMAT, kind_of
from holdfast.data.listing.left_out import LeftOut

SYSTEM_FILES = {b".ds_store", b"thumbs.db", b"ehthumbs.db", b"desktop.ini", b"icon\r"}
SYSTEM_FOLDERS = {
    *(b"__macosx", b"@eadir", b"#recycle", b"$recycle.bin", b"system volume information", b"lost+found", b"__pycache__"),
}


@dataclass(eq=False)
class Folder:
    """A folder below the data set's.

    path: from the data set's folder, b"" for that itself. images: names of the image files that lie directly in it, sorted.
    folders: those below, sorted by name. below: image files at any depth.
    """

    path: bytes
    images: list[bytes] = field(default_factory=list)
    folders: "list[Folder]" = field(default_factory=list)
    below: int = 0

    @property
    def name(self) -> bytes:
        """Its own name, without the folders above it."""
        return self.path.rpartition(b"/")[2]

    @property
    def filled(self) -> "list[Folder]":
        """The folders below that hold images, at any depth."""
        return [folder for folder in self.folders if folder.below]

    def files(self) -> Iterator[bytes]:
        """Paths of the images at any depth, in no order."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            waiting.extend(folder.folders)
            yield from (join(folder.path, image) for image in folder.images)


@dataclass(eq=False)
class _Scan:
    """A tree while it is read. Linked folders wait until all others are read, so that these keep their own place."""

    root: bytes
    left_out: LeftOut
    unusable: list[tuple[bytes, str]]
    read: set[tuple[int, int]] = field(default_factory=set)
    links: list[tuple[Folder, bytes]] = field(default_factory=list)

    def run(self) -> Folder:
        top = Folder(b"")
        self._read_all(top)
        while self.links:
            waiting, self.links = sorted(self.links, key=lambda link: link[1]), []
            for parent, path in waiting:
                self._follow(parent, path)
        _count(top)
        return top

    def _read_all(self, top: Folder) -> None:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                status = os.stat(join(self.root, folder.path))
                self.read.add((status.st_dev, status.st_ino))
                with os.scandir(join(self.root, folder.path)) as entries:
                    for entry in sorted(entries, key=lambda entry: entry.name):
                        self._sort(folder, entry)
            except OSError as error:
                raise DataError(f"{printable(join(self.root, folder.path))} cannot be read: {error.strerror}") from error
            waiting.extend(folder.folders)

    def _sort(self, folder: Folder, entry: os.DirEntry[bytes]) -> None:
        name, path = entry.name, join(folder.path, entry.name)
        if entry.is_dir():
            if name.startswith(b".") or name.lower() in SYSTEM_FOLDERS:
                self.left_out.add("system and hidden folders", path)
            elif entry.is_symlink():
                self.links.append((folder, path))
            else:
                folder.folders.append(Folder(path))
        elif name.startswith(b".") or name.lower() in SYSTEM_FILES:
            self.left_out.add("system and hidden files", path)
        elif not entry.is_file():
            self.left_out.add("links that lead nowhere" if entry.is_symlink() else "sockets, pipes and devices", path)
        elif (kind := kind_of(join(self.root, path))) == IMAGE:
            folder.images.append(name)
        elif kind.startswith(OTHER_FORMAT):
            self.unusable.append((path, kind))
        else:
            self.left_out.add("files that are not images", path)

    def _follow(self, parent: Folder, path: bytes) -> None:
        target = os.path.realpath(join(self.root, path))
        here = os.path.realpath(join(self.root, parent.path))
        if here == target or here.startswith(target.rstrip(b"/") + b"/"):
            raise DataError(
                f"{printable(join(self.root, path))} is a link to a folder that it lies in, which never ends: remove the link"
            )
        status = os.stat(target)
        if (status.st_dev, status.st_ino) in self.read:
            self.left_out.add("links to folders that are read already", path)
            return
        linked = Folder(path)
        parent.folders = sorted([*parent.folders, linked], key=lambda folder: folder.name)
        self._read_all(linked)


def read_tree(directory: Path, left_out: LeftOut, unusable: list[tuple[bytes, str]]) -> Folder:
    """Read a folder's tree; files are looked into only where their name says nothing of what they are.

    Links to folders are followed, each folder once. What is no image is added to `left_out`, images of other formats to
    `unusable` with the reason.

    Raises:
        DataError: a folder cannot be read, or a link leads back to a folder that it lies in.

    """
    return _Scan(os.fsencode(directory), left_out, unusable).run()


def join(folder: bytes, name: bytes) -> bytes:
    """Join two parts of a path, either of which may be empty."""
    return folder + b"/" + name if folder and name else folder or name


def _count(top: Folder) -> None:
    """Fill in `below` from the deepest folder up."""
    order = [top]
    for folder in order:
        order.extend(folder.folders)
    for folder in reversed(order):
        folder.below = len(folder.images) + sum(below.below for below in folder.folders)
