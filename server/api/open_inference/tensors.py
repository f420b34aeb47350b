"""Tensors of the Open Inference Protocol, whichever transport they come by, and their bytes.

The bytes of a tensor are its values row by row and little-endian; an element of BYTES is preceded by its length, four bytes.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field

import numpy as np
from numpy.typing import NDArray

from holdfast.server.core.errors import RequestError

BYTES = "BYTES"

DTYPES: dict[str, "np.dtype[np.generic]"] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""The data types that this server knows, but BYTES, whose elements have no one size."""

Parameter = bool | int | float | str
"""What goes beside a request or a tensor, by its name. Those that nobody here knows are passed over, as the protocol has it."""

MOST_SIDES = 8
"""Of a tensor whose shape is looked at: the product of a million sides would take minutes."""

BYTE_S = 1e-9
"""Expected seconds of making a tensor, or of a copy or two of it, for each of its bytes."""

_LENGTH, _TEXT_BYTES = struct.Struct("<I"), 32
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class InputTensor:
    """A tensor as a caller sent it, its name, data type and shape not yet looked at.

    Attributes:
        field: what errors call it, such as "inputs[0]".
        values: its bytes; of BYTES, the elements where the transport had them one by one.
        parameters: beside it.

    """

    field: str
    name: str
    datatype: str
    shape: tuple[int, ...]
    values: bytes | Sequence[bytes]
    parameters: Mapping[str, Parameter] = dataclass_field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """A tensor of an answer.

    Attributes:
        shape: its sides, the first of which counts images.
        values: of BYTES a flat list of elements; else an array of this shape, of the data type's dtype.

    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: NDArray[np.generic] | Sequence[bytes]


def count_of(tensor: InputTensor) -> int:
    """The number of elements that its shape makes. Raises RequestError for a side below 0, or for too many of them."""
    if len(tensor.shape) > MOST_SIDES:
        raise RequestError(f"{tensor.field}.shape", f"has {len(tensor.shape)} sides; images have 4 at most")
    if any(side < 0 for side in tensor.shape):
        raise RequestError(f"{tensor.field}.shape", f"is {list(tensor.shape)}; a side is 0 or more")
    return math.prod(tensor.shape)


def split_bytes(tensor: InputTensor, count: int) -> list[bytes]:
    """The elements of a BYTES tensor.

    Args:
        tensor: of BYTES.
        count: of its elements, by its shape.

    Raises:
        RequestError: its values are not so many elements, whole and with nothing behind them.

    """
    if not isinstance(tensor.values, bytes):
        if len(tensor.values) != count:
            raise RequestError(
                tensor.field, f"has {len(tensor.values)} elements; a shape of {list(tensor.shape)} needs {count}"
            )
        return list(tensor.values)
    raw, place, elements = tensor.values, 0, []
    for number in range(count):
        if place + _LENGTH.size > len(raw):
            raise RequestError(
                tensor.field, f"has {len(raw)} bytes, which end before element {number} of {count}; each begins with its length"
            )
        (length,) = _LENGTH.unpack_from(raw, place)
        place += _LENGTH.size
        if place + length > len(raw):
            left = len(raw) - place
            raise RequestError(tensor.field, f"element {number} says that it has {length} bytes, and {left} are left")
        elements.append(raw[place : place + length])
        place += length
    if place != len(raw):
        raise RequestError(tensor.field, f"has {len(raw) - place} bytes behind the last of its {count} elements")
    return elements


def bytes_of(tensor: OutputTensor) -> int:
    """How many bytes an answer's tensor has, about."""
    return tensor.values.nbytes if isinstance(tensor.values, np.ndarray) else _TEXT_BYTES * len(tensor.values)


def to_bytes(tensor: OutputTensor) -> bytes:
    """The bytes of an answer's tensor."""
    if isinstance(tensor.values, np.ndarray):
        return np.ascontiguousarray(tensor.values, DTYPES[tensor.datatype]).tobytes()
    return join_bytes(tensor.values)


def join_bytes(elements: Iterable[bytes]) -> bytes:
    """The bytes of a BYTES tensor with these elements."""
    return b"".join([part for element in elements for part in (_LENGTH.pack(len(element)), element)])


def shown(value: object) -> str:
    """What a caller sent, as an error can say it: cut where it is long."""
    text = repr(value[:_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN + 2 else f"{text[:_SHOWN]}..."
