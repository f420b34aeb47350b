"""Reader of gzipped idx files, the format MNIST was published in (http://yann.lecun.com/exdb/mnist, last section)."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.data.labelled import DataError

UNSIGNED_BYTE = 8


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a gzipped idx file of unsigned bytes with `dimensions` axes.

    Raises:
        DataError: missing, not gzip, not idx, another type or number of axes, or another length than its header says.

    """
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}): fetch it again, and do not unpack it") from error
    start = 4 + 4 * dimensions
    if len(content) < start or content[:2] != b"\0\0":
        raise DataError(f"{path} is not an idx file: it starts with {content[:4].hex() or 'nothing'}")
    kind, axes = content[2], content[3]
    if (kind, axes) != (UNSIGNED_BYTE, dimensions):
        raise DataError(
            f"{path}: expected unsigned bytes (type 0x08) with {dimensions} axes, found type 0x{kind:02x} with {axes}"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise DataError(f"{path}: the header promises {list(shape)}, but {len(content) - start} bytes follow it")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
