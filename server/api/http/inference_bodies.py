"""Requests and replies of the Open Inference Protocol as JSON, with tensors in it or in binary form behind it."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from holdfast.server.api.http.errors import HttpError
from holdfast.server.api.open_inference.messages import InferReply, InferRequest, RequestedOutput, flag, whole_number
from holdfast.server.api.open_inference.tensors import (
    BYTE_S,
    BYTES,
    InputTensor,
    OutputTensor,
    Parameter,
    bytes_of,
    count_of,
    shown,
    to_bytes,
)
from holdfast.server.core.errors import RequestError
from holdfast.server.decoding.turns import LoopTurns

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The header with the bytes of the JSON, where binary tensors are behind it."""

SIZE = "binary_data_size"

MOST_CONTAINERS = 2**15
"""Lists and objects in one request: an empty list of two bytes costs ten times what a number does, and holds up all calls."""

_VALUES_IN_A_ROW, _VALUE_S = 16384, 5e-8
"""Values that become text in one turn of the event loop, and the seconds that one takes, about."""


def json_length(header: str | None, body: bytes, most: int) -> int:
    """The bytes of a body that are JSON: all of them where no header says so.

    Raises:
        RequestError: the header is no number, or more than there is.
        HttpError: 413, it is more than `most`.

    """
    length = len(body)
    if header is not None:
        if not header.isascii() or not header.isdigit() or len(header) > 12 or int(header) > len(body):
            raise RequestError(HEADER_LENGTH, f"is {shown(header)}, and the body has {len(body)} bytes")
        length = int(header)
    if length > most:
        raise HttpError(413, f"the JSON has {length} bytes, at most {most} are read: send tensors in binary form", "json")
    return length


def read_request(body: bytes, length: int, name: str, version: str) -> InferRequest:
    """A request from a body of which so many bytes are JSON.

    Raises:
        RequestError: names the field that is wrong.

    """
    said = read_object(body[:length])
    inputs = _objects(said, "inputs")
    sizes = [whole_number(_parameters(tensor, field), SIZE, field) for field, tensor in inputs]
    behind = len(body) - length
    if sum(size or 0 for size in sizes) != behind:
        raise RequestError(HEADER_LENGTH, f"leaves {behind} bytes for tensors, which say that they have {_sum(sizes)}")
    tensors, place = [], length
    for (field, tensor), size in zip(inputs[:2], sizes, strict=False):  # of two or more none is looked at
        tensors.append(_input(field, tensor, None if size is None else body[place : place + size]))
        place += size or 0
    outputs = [
        RequestedOutput(field, _text(output, "name", field), _parameters(output, field))
        for field, output in _objects(said, "outputs", optional=True)
    ]
    return InferRequest(name, version, _text(said, "id", "", optional=True), tensors, outputs, _parameters(said, ""))


def _sum(sizes: Sequence[int | None]) -> str:
    return shown(sum(size or 0 for size in sizes))


def read_object(text: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RequestError: it is none; NaN and more than 1,024 levels are no JSON here.
        HttpError: 413, of more lists and objects than are made in passing.

    """
    if text.count(b"[") + text.count(b"{") > MOST_CONTAINERS:
        raise HttpError(413, f"the JSON has more than {MOST_CONTAINERS} lists and objects: send values in one list", "json")
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError("body", f"is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise RequestError("body", "is no JSON object")
    return found


def _objects(said: Mapping[str, Any], name: str, *, optional: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a list, each with what errors call it."""
    found = said.get(name, [] if optional else None)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise RequestError(name, "is no list of objects")
    return [(f"{name}[{number}]", each) for number, each in enumerate(found)]


def _text(said: Mapping[str, Any], name: str, place: str, *, optional: bool = False) -> str:
    found = said.get(name, "" if optional else None)
    if not isinstance(found, str):
        raise RequestError(f"{place}.{name}".lstrip("."), "is no string")
    return found


def _parameters(said: Mapping[str, Any], place: str) -> dict[str, Parameter]:
    found = said.get("parameters", {})
    if not isinstance(found, dict):
        raise RequestError(f"{place}.parameters".lstrip("."), "is no object")
    for name, value in found.items():
        if not isinstance(value, bool | int | float | str):
            raise RequestError(f"{place}.parameters.{name[:60]}".lstrip("."), "is no boolean, number or string")
    return found


def _input(field: str, said: Mapping[str, Any], raw: bytes | None) -> InputTensor:
    shape = said.get("shape")
    if not isinstance(shape, list) or not all(type(side) is int for side in shape):
        raise RequestError(f"{field}.shape", "is no list of whole numbers")
    datatype = _text(said, "datatype", field)
    head = field, _text(said, "name", field), datatype, tuple(shape)
    parameters = _parameters(said, field)
    if raw is not None:
        if "data" in said:
            raise RequestError(f"{field}.data", f"is set beside {SIZE}; send one of them")
        return InputTensor(*head, raw, parameters)
    count_of(InputTensor(*head, b""))
    flat = _flat(said.get("data"), shape, f"{field}.data")
    return InputTensor(*head, _files(flat, field) if datatype == BYTES else _pixels(flat, field), parameters)


def _flat(data: Any, shape: Sequence[int], field: str) -> list[Any]:
    """The values in a row, of a list that is flat, or nested as the shape is."""
    if not isinstance(data, list):
        raise RequestError(field, "is no list")
    if not data or not isinstance(data[0], list):
        return data
    levels = [data]
    for side in shape:
        if not all(isinstance(each, list) and len(each) == side for each in levels):
            raise RequestError(field, f"is not nested as a shape of {list(shape)}")
        levels = list(chain.from_iterable(levels))
    return levels


def _files(flat: Sequence[Any], field: str) -> list[bytes]:
    """Files in base64: no image file is a text."""
    files = []
    for number, text in enumerate(flat):
        try:
            files.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError, TypeError):
            raise RequestError(f"{field}.data[{number}]", "is no string of base64") from None
    return files


def _pixels(flat: Sequence[Any], field: str) -> bytes:
    if set(map(type, flat)) - {int}:
        raise RequestError(f"{field}.data", "has values that are no whole numbers")
    try:
        return bytes(flat)
    except ValueError:
        raise RequestError(f"{field}.data", "has values outside of 0 to 255") from None


async def write_reply(
    reply: InferReply, request: InferRequest, turns: LoopTurns, caller: str
) -> tuple[list[bytes], int | None]:
    """A reply: the pieces of its body, and the bytes of its JSON where binary tensors are behind it.

    Raises:
        RequestError: a parameter that says which form outputs are wanted in is neither true nor false.

    """
    binary = _binary_outputs(reply, request)
    outputs, tensors = [], []
    for tensor in reply.outputs:
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if tensor.name in binary:
            await turns.take(caller, bytes_of(tensor) * BYTE_S)
            tensors.append(to_bytes(tensor))
            output["parameters"] = {SIZE: len(tensors[-1])}
        else:
            output["data"] = await _data(tensor, turns, caller)
        outputs.append(output)
    head: dict[str, Any] = {"model_name": reply.model_name, "model_version": reply.model_version}
    if reply.id:
        head["id"] = reply.id
    text = orjson.dumps(head | {"outputs": outputs})
    return [text, *tensors], len(text) if tensors else None


def _binary_outputs(reply: InferReply, request: InferRequest) -> set[str]:
    """The names of outputs that are wanted in binary form."""
    otherwise = flag(request.parameters, "binary_data_output")
    said = [each for each in request.outputs if "binary_data" in each.parameters]
    asked = {each.name: flag(each.parameters, "binary_data", each.field) for each in said}
    return {tensor.name for tensor in reply.outputs if asked.get(tensor.name, otherwise)}


async def _data(tensor: OutputTensor, turns: LoopTurns, caller: str) -> Any:
    """The values row by row, as JSON; what is no number is null."""
    if not isinstance(tensor.values, np.ndarray):
        return [element.decode() for element in tensor.values]
    flat, pieces = np.ascontiguousarray(tensor.values).reshape(-1), []
    for start in range(0, len(flat), _VALUES_IN_A_ROW):
        some = flat[start : start + _VALUES_IN_A_ROW]
        await turns.take(caller, _VALUE_S * len(some))
        pieces.append(orjson.dumps(some, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1])
    return orjson.Fragment(b"[" + b",".join(pieces) + b"]")
