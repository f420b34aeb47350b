"""The names of files: any bytes can be one, and what is shown of it can be printed."""

import os

from holdfast.bundle.sources import Sources


def printable(name: str | bytes) -> str:
    r"""Return the name as text that can be printed and stored: what is no UTF-8, and control characters, as \\xNN.

    A file's name may hold any bytes. JSON, protobuf and most terminals take only text.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if _shown(c) else f"\\x{ord(c):02x}" for c in text)


def _shown(character: str) -> bool:
    return not (ord(character) < 32 or 127 <= ord(character) < 160)


class PackedNames(Sources):
    """Names of files, as the file system has them, to be read as printable text."""

    def path(self, folder: bytes, row: int) -> bytes:
        """Return where the file of one row lies, its name being relative to `folder` or absolute."""
        return os.path.join(folder, self.raw(row))

    @staticmethod
    def read(name: bytes) -> str:
        """Return a name as text that can be printed and stored."""
        return printable(name)
