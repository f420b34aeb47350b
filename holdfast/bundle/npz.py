"""Arrays of an .npz file that are read where they lie."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

LOCAL_HEADER = 30
"""Bytes of a member's header before its name (PKWARE's APPNOTE, 4.3.7), which ends with the lengths of name and extra field."""


def mapped_member(path: Path, name: str) -> NDArray[Any]:
    """An array of an .npz file, memory-mapped to be read; as a copy where it is compressed or empty.

    Args:
        path: the file; it may be replaced meanwhile, and not be written to.
        name: of the member, such as "labels.npy".

    Raises:
        KeyError: no such member.
        ValueError, OSError, zipfile.BadZipFile: not such a file.

    """
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(name)
        with archive.open(member) as file:
            version = npy.read_magic(file)
            read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
            shape, fortran_order, dtype = read_header(file)
            header = file.tell()
            if member.compress_type != zipfile.ZIP_STORED or 0 in shape or fortran_order or dtype.hasobject:
                file.seek(0)
                copied: NDArray[Any] = npy.read_array(file, allow_pickle=False)
                return copied
    with path.open("rb") as raw:
        raw.seek(member.header_offset)
        local = raw.read(LOCAL_HEADER)
    lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    offset = member.header_offset + LOCAL_HEADER + lengths + header
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
