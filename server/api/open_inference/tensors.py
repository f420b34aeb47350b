"""Tensors of the Open Inference Protocol: what a call's inputs hold, checked before anything of their size is made."""

import math
import struct
from collections.abc import Iterable, Sequence
from itertools import islice

from holdfast.protos.inference import inference_pb2 as pb
from holdfast.server.core.errors import InvalidRequestError
from holdfast.server.core.request import RawImage, Source

IMAGES, PIXELS = "images", "pixels"

MOST_TYPED = 2**18
"""Pixels in typed contents, an element each: more of them would hold up other calls while they are read."""

_LENGTH = struct.Struct("<I")


def sources_of(request: pb.ModelInferRequest, most: int) -> list[Source]:
    """The images of a request, at most `most`, as the core takes them.

    Raises:
        InvalidRequestError: not one input, or one whose name, type, shape and contents do not fit each other.

    """
    if len(request.inputs) != 1:
        raise _fault("inputs", f"has {len(request.inputs)} tensors; send one, {IMAGES} or {PIXELS}")
    tensor, shape = request.inputs[0], list(request.inputs[0].shape)
    if len(request.raw_input_contents) > 1 or (request.raw_input_contents and _has_contents(tensor)):
        raise _fault("raw_input_contents", "goes with inputs that have no contents, one entry for each")
    if tensor.parameters:
        raise _fault(
            "inputs[0].parameters", f"has {_names(tensor.parameters)}; none is known here, and no shared memory is read"
        )
    raw = request.raw_input_contents[0] if request.raw_input_contents else None
    match tensor.name, tensor.datatype:
        case "images", "BYTES":
            return _files(tensor, raw, _count(shape, most, one_by_one=True))
        case "pixels", "UINT8":
            return _arrays(tensor, raw, shape, _count(shape, most, one_by_one=False))
        case "images" | "pixels", other:
            wanted = "BYTES" if tensor.name == IMAGES else "UINT8"
            raise _fault("inputs[0].datatype", f"is {other[:32]!r}; {tensor.name} is {wanted}")
        case other, _:
            raise _fault("inputs[0].name", f"is {other[:64]!r}; there are {IMAGES} (BYTES) and {PIXELS} (UINT8)")


def bytes_tensor(values: Sequence[bytes]) -> bytes:
    """The raw form of a tensor of BYTES: each element with its length before it."""
    return b"".join(part for value in values for part in (_LENGTH.pack(len(value)), value))


def _count(shape: list[int], most: int, *, one_by_one: bool) -> int:
    """How many images a shape speaks of."""
    fits = len(shape) in {1, 2} and shape[1:] in ([], [1]) if one_by_one else len(shape) == 4
    if not fits or min(shape) < 1:
        raise _fault("inputs[0].shape", f"is {shape[:8]}; it is {'[N]' if one_by_one else '[N, height, width, channels]'}")
    if shape[0] > most:
        raise _fault("inputs[0].shape", f"has {shape[0]} images; send 1 to {most}")
    return shape[0]


def _files(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None, count: int) -> list[Source]:
    found: list[Source] = list(tensor.contents.bytes_contents) if raw is None else list(_elements(raw, count))
    if len(found) != count:
        raise _fault("inputs[0].contents", f"has {len(found)} elements; its shape has {count}")
    return found


def _elements(raw: bytes, count: int) -> list[bytes]:
    """The elements of a raw tensor of BYTES; no more than `count` are looked for."""
    found: list[bytes] = []
    place = 0
    for _ in range(count):
        if place + _LENGTH.size > len(raw):
            break
        (length,) = _LENGTH.unpack_from(raw, place)
        place += _LENGTH.size
        if place + length > len(raw):
            raise _fault("raw_input_contents[0]", f"ends inside of element {len(found)}")
        found.append(raw[place : place + length])
        place += length
    if len(found) < count or place < len(raw):
        raise _fault("raw_input_contents[0]", f"does not hold {count} elements, each with its length in four bytes before it")
    return found


def _arrays(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None, shape: list[int], count: int) -> list[Source]:
    size = math.prod(shape[1:])
    if raw is None:
        raw = _typed_bytes(tensor.contents.uint_contents)
    if len(raw) != count * size:
        raise _fault("inputs[0].contents", f"has {len(raw)} bytes; its shape has {count * size}")
    return [RawImage(raw[place : place + size], tuple(shape[1:]), "uint8") for place in range(0, count * size, size)]


def _typed_bytes(values: Sequence[int]) -> bytes:
    if len(values) > MOST_TYPED:
        raise _fault("inputs[0].contents", f"has {len(values)} elements; send more than {MOST_TYPED} by raw_input_contents")
    try:
        return bytes(values)
    except ValueError:
        raise _fault("inputs[0].contents.uint_contents", "has elements above 255") from None


def _has_contents(tensor: pb.ModelInferRequest.InferInputTensor) -> bool:
    return tensor.HasField("contents") and any(tensor.contents.ListFields())


def _names(parameters: Iterable[str]) -> str:
    return ", ".join(sorted(name[:64] for name in islice(parameters, 8)))


def _fault(field: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError([(field, reason)])
