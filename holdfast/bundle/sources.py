"""Names, ten million of them in one array of bytes, not in ten million objects: of files, and of where exemplars came from."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

AT_ONCE = 65536  # names that are Python objects at a time


class Sources(Sequence[str]):
    """A sequence of names, kept as their UTF-8 bytes one after the other and the place where each ends.

    A file name need not be valid UTF-8: its other bytes come and go as surrogates, as `os.fsdecode` has them. Immutable.

    Args:
        text: uint8 [B], all names.
        ends: int64 [M], where in `text` each name ends, ascending. Either may be a memory-mapped array.

    Raises:
        ValueError: ends that do not ascend from 0 to B.

    """

    def __init__(self, text: Bytes, ends: Ints) -> None:
        last = int(ends[-1]) if len(ends) else 0
        if text.dtype != np.uint8 or text.ndim != 1 or ends.ndim != 1 or last != len(text):
            raise ValueError(f"names of {last} bytes in all came with {len(text)} bytes")
        self.text, self.ends = text, ends

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """Any names, in their order."""
        if type(names) is cls:
            return names
        text, ends, offset = bytearray(), [np.zeros(0, np.int64)], 0
        for batch in _batches(iter(names)):
            encoded = [_encode(name) for name in batch]
            text += b"".join(encoded)
            ends.append(np.cumsum([len(name) for name in encoded], dtype=np.int64) + offset)
            offset = len(text)
        return cls(np.frombuffer(bytes(text), dtype=np.uint8), np.concatenate(ends))

    @classmethod
    def joined(cls, parts: Sequence["Sources"]) -> Self:
        """The names of all parts, one part after the other; a single part is shared."""
        if len(parts) == 1:
            return cls(parts[0].text, parts[0].ends)
        offsets = np.cumsum([0, *(len(part.text) for part in parts)])
        ends = [part.ends + offset for part, offset in zip(parts, offsets[:-1], strict=True)]
        return cls(np.concatenate([np.zeros(0, np.uint8), *(part.text for part in parts)]), np.concatenate([_NO_ENDS, *ends]))

    def __len__(self) -> int:
        return len(self.ends)

    def raw(self, row: int) -> bytes:
        """The bytes of one name. Raises IndexError; negative rows count from the end."""
        row = range(len(self))[row]
        start = int(self.ends[row - 1]) if row else 0
        return self.text[start : int(self.ends[row])].tobytes()

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        return self.read(self.raw(index))

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), AT_ONCE):
            ends = self.ends[first : first + AT_ONCE].tolist()
            begin = int(self.ends[first - 1]) if first else 0
            text = self.text[begin : ends[-1]].tobytes()
            for start, end in zip([begin, *ends[:-1]], ends, strict=True):
                yield self.read(text[start - begin : end - begin])

    @staticmethod
    def read(name: bytes) -> str:
        """A name of these bytes, as text."""
        return name.decode(errors="surrogateescape")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sources) and np.array_equal(self.ends, other.ends) and np.array_equal(self.text, other.text)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} names of {len(self.text):,} bytes)"

    def take(self, rows: Ints) -> Self:
        """The names of these rows, int64 [n], in that order."""
        lengths = self.ends[rows] - self._starts(rows)
        ends = np.cumsum(lengths, dtype=np.int64)
        text = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
        for first in range(0, len(rows), AT_ONCE):
            block = slice(first, first + AT_ONCE)
            begin, end = int(ends[first] - lengths[first]), int(ends[block][-1])
            # Byte i of the text, of name r, comes from starts[r] + i - the place where r now begins.
            moved = self._starts(rows[block]) - (ends[block] - lengths[block])
            text[begin:end] = self.text[np.arange(begin, end) + np.repeat(moved, lengths[block])]
        return type(self)(text, ends)

    def _starts(self, rows: Ints) -> Ints:
        starts: Ints = np.where(rows > 0, self.ends[rows - 1], 0)
        return starts

    def tolist(self) -> list[str]:
        """All names as Python strings."""
        return list(self)


_NO_ENDS = np.zeros(0, np.int64)


def _encode(name: str) -> bytes:
    try:
        return name.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # half a character that no file system gave: kept readable rather than refused
        return name.encode(errors="backslashreplace")


def _batches(names: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(names, AT_ONCE)):
        yield batch
