"""Images as rows of name, label and part, packed: a million take what their names are long."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.data.listing.names import PackedNames
from holdfast.data.listing.parts import Part


@dataclass(frozen=True, eq=False)
class ImageRows:
    """names: [N]. labels: int64 [N]. parts: uint8 [N], values of Part."""

    names: PackedNames
    labels: NDArray[np.int64]
    parts: NDArray[np.uint8]

    @classmethod
    def pack(cls, rows: Iterable[tuple[bytes, int, Part]]) -> Self:
        """Pack rows in their order."""
        block, ends, labels, parts = bytearray(), array("q"), array("q"), bytearray()
        for name, label, part in rows:
            block += name
            ends.append(len(block))
            labels.append(label)
            parts.append(part)
        names = PackedNames(np.frombuffer(block, dtype=np.uint8), np.frombuffer(ends, dtype=np.int64))
        return cls(names, np.frombuffer(labels, dtype=np.int64), np.frombuffer(parts, dtype=np.uint8))
