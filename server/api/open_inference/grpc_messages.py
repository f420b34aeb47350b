"""Between the messages of inference.GRPCInferenceService and the protocol's values."""

from collections.abc import Mapping

import numpy as np

from holdfast.protos.inference import service_pb2 as pb
from holdfast.server.api.open_inference.messages import InferReply, InferRequest, RequestedOutput
from holdfast.server.api.open_inference.tensors import (
    BYTE_S,
    BYTES,
    InputTensor,
    OutputTensor,
    Parameter,
    bytes_of,
    shown,
    to_bytes,
)
from holdfast.server.core.errors import RequestError
from holdfast.server.decoding.turns import LoopTurns

_LISTS = {
    BYTES: "bytes_contents",
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
_VALUES_IN_A_ROW, _VALUE_S = 16384, 5e-8
"""Values that are listed in one turn of the event loop, and the seconds that one takes, about."""

_STREAM_TAG = pb.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER << 3 | 2
"""What stands before a message in a message, on the wire."""


def read_request(message: pb.ModelInferRequest) -> InferRequest:
    """A request as the protocol's core takes it.

    Raises:
        RequestError: its tensors have not one of raw and listed contents each.

    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise RequestError("raw_input_contents", f"has {len(raw)} tensors for {len(message.inputs)} inputs")
    inputs = []
    for number, tensor in enumerate(message.inputs[:2]):  # of two or more none is looked at
        field = f"inputs[{number}]"
        if raw and tensor.HasField("contents"):
            raise RequestError(f"{field}.contents", "is set beside raw_input_contents; send one of them")
        values = raw[number] if raw else _listed(field, tensor)
        parameters = _parameters(tensor.parameters)
        inputs.append(InputTensor(field, tensor.name, tensor.datatype, tuple(tensor.shape), values, parameters))
    outputs = [
        RequestedOutput(f"outputs[{number}]", each.name, _parameters(each.parameters))
        for number, each in enumerate(message.outputs)
    ]
    parameters = _parameters(message.parameters)
    return InferRequest(message.model_name, message.model_version, message.id, inputs, outputs, parameters)


def _listed(field: str, tensor: pb.ModelInferRequest.InferInputTensor) -> bytes | list[bytes]:
    """The values of a tensor that lists them one by one."""
    contents, name = tensor.contents, _LISTS.get(tensor.datatype)
    for other, _ in contents.ListFields():
        if other.name != name:
            raise RequestError(f"{field}.contents", f"has {other.name}, and the datatype is {shown(tensor.datatype)}")
    if tensor.datatype == BYTES:
        return list(contents.bytes_contents)
    values = np.array(contents.uint_contents, np.uint32)  # a copy of its memory, not value by value
    if values.size and values.max() > 255:
        raise RequestError(f"{field}.contents.uint_contents", f"has {values.max()}, which is no UINT8")
    return values.astype(np.uint8).tobytes()


def _parameters(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(parameter, choice)
    return found


async def write_reply(reply: InferReply, turns: LoopTurns, caller: str, *, raw: bool) -> bytes:
    """A reply with raw or with listed contents, serialised in pieces that wait for their turn of the event loop.

    Joined they are one message: protobuf appends repeated fields of several.
    """
    head = pb.ModelInferResponse(model_name=reply.model_name, model_version=reply.model_version, id=reply.id)
    pieces = [head.SerializeToString()]
    for tensor in reply.outputs:
        piece = pb.ModelInferResponse()
        output = piece.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            await turns.take(caller, bytes_of(tensor) * BYTE_S)
            piece.raw_output_contents.append(to_bytes(tensor))
        else:
            await _list(tensor, output.contents, turns, caller)
        pieces.append(piece.SerializeToString())
    return await turns.joined(pieces, caller)


def in_stream(reply: bytes) -> bytes:
    """A serialised ModelInferResponse as a serialised ModelStreamInferResponse: its field's tag and length, and the reply."""
    left, head = len(reply), bytearray([_STREAM_TAG])
    while left > 0x7F:
        head.append(left & 0x7F | 0x80)
        left >>= 7
    head.append(left)
    return b"".join((head, reply))


async def _list(tensor: OutputTensor, contents: pb.InferTensorContents, turns: LoopTurns, caller: str) -> None:
    listed = getattr(contents, _LISTS[tensor.datatype])
    values = tensor.values
    if not isinstance(values, np.ndarray):
        listed.extend(values)
        return
    flat = values.reshape(-1)
    for start in range(0, len(flat), _VALUES_IN_A_ROW):
        some = flat[start : start + _VALUES_IN_A_ROW].tolist()
        await turns.take(caller, _VALUE_S * len(some))
        listed.extend(some)


def uses_raw(message: pb.ModelInferRequest) -> bool:
    """Whether the reply to a request has raw contents: where the request has."""
    return bool(message.raw_input_contents)
