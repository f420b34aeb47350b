"""Arrays of .npz files, read with a bound on what they make of memory, or where they lie.

A header of a few bytes may promise 10 ** 12 rows, and a few kilobytes may unpack to gigabytes. Here an array is what its header
says and no more, and the file as a whole is no larger in memory than its size on disk allows.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

LOCAL_HEADER = 30
"""Bytes of a member's header before its name (PKWARE's APPNOTE, 4.3.7), which ends with the lengths of name and extra field."""

MOST_MEMBERS = 64
"""Arrays in one file."""

FREE_BYTES, MOST_GROWTH = 64 * 2**20, 32
"""What a file may unpack to: so many bytes, and so many times its own size beyond them."""

UNREADABLE = (
    *(KeyError, ValueError, TypeError, OSError, EOFError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What reading a file raises that is no .npz, or not the one that was expected."""


class NpzFile:
    """An .npz file whose arrays are asked for by name.

    Args:
        path: of the file; it may be replaced meanwhile, and not be written to.
        archive: the same, open.

    Raises:
        ValueError: more members than such a file has, or one that unpacks to too much.

    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        members = archive.infolist()
        most = FREE_BYTES + MOST_GROWTH * path.stat().st_size
        if len(members) > MOST_MEMBERS or (unpacked := sum(member.file_size for member in members)) > most:
            many = f"{len(members)} members" if len(members) > MOST_MEMBERS else f"{unpacked} bytes unpacked"
            raise ValueError(f"{many} are more than such a file has")

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self._archive.namelist()

    def array(self, name: str, dtype: DTypeLike, *shape: int | None) -> NDArray[Any]:
        """An array, as a copy.

        Args:
            name: its name.
            dtype: what it is converted to, where that is of the same kind; `str` takes any width.
            shape: its sides; None for any.

        Raises:
            KeyError: there is none.
            ValueError, TypeError, OSError, zipfile.BadZipFile: it is another one, or damaged.

        """
        member = self._archive.getinfo(f"{name}.npy")
        with self._archive.open(member) as file:
            found = _header(file, member)
            _refuse_misfit(name, found, dtype, shape)
            file.seek(0)
            array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        return array if np.dtype(dtype).kind == "U" else array.astype(dtype, casting="same_kind", copy=False)

    def mapped(self, name: str, dtype: DTypeLike, *shape: int | None) -> NDArray[Any]:
        """An array, memory-mapped to be read; as a copy where it is compressed or empty. Arguments and errors as of `array`."""
        member = self._archive.getinfo(f"{name}.npy")
        with self._archive.open(member) as file:
            found = _header(file, member)
            offset = file.tell()
        sides, in_columns, stored = found
        if member.compress_type != zipfile.ZIP_STORED or 0 in sides or in_columns or stored != np.dtype(dtype):
            return self.array(name, dtype, *shape)
        _refuse_misfit(name, found, dtype, shape)
        with self._path.open("rb") as raw:
            raw.seek(member.header_offset)
            local = raw.read(LOCAL_HEADER)
        lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        start = member.header_offset + LOCAL_HEADER + lengths + offset
        return np.memmap(self._path, dtype=stored, mode="r", offset=start, shape=sides)


@contextmanager
def open_npz(path: Path) -> Iterator[NpzFile]:
    """Open a file. Raises one of UNREADABLE where it is no .npz, or one that unpacks to too much."""
    with zipfile.ZipFile(path) as archive:
        yield NpzFile(path, archive)


_Header = tuple[tuple[int, ...], bool, np.dtype[Any]]


def _header(file: IO[bytes], member: zipfile.ZipInfo) -> _Header:
    """Shape, whether columns come first, and dtype; held against the bytes that there are."""
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"{member.filename} has a header of version {version}")
    shape, in_columns, dtype = read(file)
    if dtype.hasobject or any(side < 0 for side in shape):
        raise ValueError(f"{member.filename} is {dtype} {list(shape)}")
    # The product of Python's own integers, which do not overflow.
    if prod(shape) * dtype.itemsize != member.file_size - file.tell():
        raise ValueError(f"{member.filename} says {dtype} {list(shape)}, and is {member.file_size - file.tell()} bytes")
    return shape, in_columns, dtype


def _refuse_misfit(name: str, found: _Header, dtype: DTypeLike, shape: tuple[int | None, ...]) -> None:
    sides, _, stored = found
    wanted = np.dtype(dtype)
    alike = stored.kind == "U" if wanted.kind == "U" else stored.kind != "b" and np.can_cast(stored, wanted, "same_kind")
    fits = len(sides) == len(shape) and all(want in {None, side} for want, side in zip(shape, sides, strict=True))
    if not alike or not fits:
        expected = [f"{'any' if side is None else side}" for side in shape]
        raise ValueError(f"{name} is {stored} {list(sides)}; expected {wanted} [{', '.join(expected)}]")
