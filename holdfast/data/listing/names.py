"""The names of files, as bytes in one block: a million of them take what they are long, and any bytes can be one."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray


def printable(name: str | bytes) -> str:
    r"""Return the name as text that can be printed and stored: what is no UTF-8, and control characters, as \\xNN.

    A file's name may hold any bytes. JSON, protobuf and most terminals take only text.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if _shown(c) else f"\\x{ord(c):02x}" for c in text)


def _shown(character: str) -> bool:
    return not (ord(character) < 32 or 127 <= ord(character) < 160)


@dataclass(frozen=True, eq=False, slots=True)
class PackedNames(Sequence[str]):
    """Names of files, to be read as printable text.

    Attributes:
        block: all names, one after the other, as the file system has them.
        starts, ends: int64 [N], where each lies in `block`.

    """

    block: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    def raw(self, row: int) -> bytes:
        """Return the name of one row as the file system has it."""
        return self.block[int(self.starts[row]) : int(self.ends[row])]

    def path(self, folder: bytes, row: int) -> bytes:
        """Return where the file of one row lies, its name being relative to `folder` or absolute."""
        return os.path.join(folder, self.raw(row))

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> "PackedNames": ...
    def __getitem__(self, row: int | slice) -> "str | PackedNames":
        if isinstance(row, slice):
            return PackedNames(self.block, self.starts[row], self.ends[row])
        return printable(self.raw(row))

    def take(self, rows: NDArray[np.int64]) -> "PackedNames":
        """Return the names at `rows` (int64 [n]), in that order; the block is shared."""
        return PackedNames(self.block, self.starts[rows], self.ends[rows])
