"""The names of files, packed."""

import os

from holdfast.bundle.printable import printable
from holdfast.bundle.sources import Sources


class PackedNames(Sources):
    """Names of files, as the file system has them, to be read as printable text."""

    def path(self, folder: bytes, row: int) -> bytes:
        """Return where the file of one row lies, its name being relative to `folder` or absolute."""
        return os.path.join(folder, self.raw(row))

    @staticmethod
    def read(name: bytes) -> str:
        """Return a name as text that can be printed and stored."""
        return printable(name)
