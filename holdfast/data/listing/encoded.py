"""Where the encoded bytes of images lie: a file each, or a range of a shard that holds many. Memory holds places, not bytes."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.data.listing.names import PackedNames
from holdfast.errors import ImageError

Ints = NDArray[np.int64]
Stamp = tuple[int, int, int]

LARGEST_IMAGE = 2**28  # bytes: what is larger is not an image that anybody took
NO_FILE: Stamp = (-1, -1, -1)


class EncodedImages(Protocol):
    """The encoded bytes of N images, read when they are asked for."""

    def __len__(self) -> int: ...

    def size(self, row: int) -> int:
        """Bytes of one image; -1 where there is no file."""

    def read(self, row: int) -> bytes:
        """The bytes of one image.

        Raises:
            ImageError: they are more than LARGEST_IMAGE, or no longer all there.
            OSError: the file cannot be read.

        """

    def stamp(self, row: int) -> Stamp:
        """Size in bytes, and when content and file last changed, in nanoseconds; NO_FILE where there is no file."""

    def take(self, rows: Ints) -> Self:
        """The images at `rows`, int64 [n], in that order."""


@dataclass(frozen=True, eq=False)
class EncodedFiles:
    """Images that are a file each. root: what names are relative to. names: of the files, [N]."""

    root: Path
    names: PackedNames

    def __len__(self) -> int:
        return len(self.names)

    def size(self, row: int) -> int:
        """See `EncodedImages`."""
        return self.stamp(row)[0]

    def read(self, row: int) -> bytes:
        """See `EncodedImages`."""
        descriptor = os.open(self.path(row), os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            _refuse_large(size)
            return os.pread(descriptor, size, 0)
        finally:
            os.close(descriptor)

    def stamp(self, row: int) -> Stamp:
        """See `EncodedImages`."""
        return _stamp(self.path(row))

    def take(self, rows: Ints) -> "EncodedFiles":
        """See `EncodedImages`."""
        return EncodedFiles(self.root, self.names.take(rows))

    def path(self, row: int) -> bytes:
        """Where the file of one image lies."""
        return self.names.path(os.fsencode(self.root), row)


@dataclass(frozen=True, eq=False)
class EncodedRanges:
    """Images that are ranges of shards.

    Attributes:
        shards: the files.
        stamps: of each, when the ranges were found.
        shard: int32 [N], which of them holds each image.
        starts: int64 [N], its first byte there.
        sizes: int64 [N], its bytes.

    """

    shards: tuple[Path, ...]
    stamps: tuple[Stamp, ...]
    shard: NDArray[np.int32]
    starts: Ints
    sizes: Ints

    @classmethod
    def of(cls, shards: Iterable[Path], shard: Ints, starts: Ints, sizes: Ints) -> Self:
        """Ranges of shards as they lie now."""
        files = tuple(shards)
        return cls(files, tuple(_stamp(os.fsencode(file)) for file in files), shard.astype(np.int32), starts, sizes)

    def __len__(self) -> int:
        return len(self.shard)

    def size(self, row: int) -> int:
        """See `EncodedImages`."""
        return int(self.sizes[row])

    def read(self, row: int) -> bytes:
        """See `EncodedImages`."""
        size = self.size(row)
        _refuse_large(size)
        descriptor = os.open(self.shards[self.shard[row]], os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = os.pread(descriptor, size, int(self.starts[row]))
        finally:
            os.close(descriptor)
        if len(found) < size:
            raise ImageError(
                "encoded", f"lies at the end of a shard that is cut short: {len(found):,} of {size:,} bytes are there"
            )
        return found

    def stamp(self, row: int) -> Stamp:
        """See `EncodedImages`; of the whole shard, when its ranges were found."""
        return self.stamps[self.shard[row]]

    def take(self, rows: Ints) -> "EncodedRanges":
        """See `EncodedImages`."""
        used, shard = np.unique(self.shard[rows], return_inverse=True)  # a few images are sent to a process without all shards
        shards = tuple(self.shards[place] for place in used.tolist())
        stamps = tuple(self.stamps[place] for place in used.tolist())
        return EncodedRanges(shards, stamps, shard.astype(np.int32), self.starts[rows], self.sizes[rows])


def _refuse_large(size: int) -> None:
    if size > LARGEST_IMAGE:
        raise ImageError("encoded", f"has {size} bytes; the limit is {LARGEST_IMAGE}")


def _stamp(path: bytes) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return NO_FILE
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
