"""Requests of the Open Inference Protocol over gRPC, and what their replies hold."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from holdfast.protos.inference import service_pb2 as oip
from holdfast.protos.inference.service_pb2_grpc import GRPCInferenceServiceStub
from tests.server.running import Served
from tests.server.tiny import Pixels

DTYPES = {"BOOL": "?", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8"}
LISTS = {
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def stub_of(served: Served) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(served.channel)


def prefixed(elements: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def files_request(files: Sequence[bytes], *, raw: bool = True, **fields: Any) -> oip.ModelInferRequest:
    """Encoded images; `fields` are others of the message."""
    request = oip.ModelInferRequest(**({"model_name": "tiny"} | fields))
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[len(files)])
    if raw:
        request.raw_input_contents.append(prefixed(files))
    else:
        tensor.contents.bytes_contents.extend(files)
    return request


def pixels_request(images: Pixels, *, raw: bool = True, **fields: Any) -> oip.ModelInferRequest:
    """uint8 [N, H, W, C]."""
    request = oip.ModelInferRequest(**({"model_name": "tiny"} | fields))
    tensor = request.inputs.add(name="image", datatype="UINT8", shape=images.shape)
    if raw:
        request.raw_input_contents.append(images.tobytes())
    else:
        tensor.contents.uint_contents.extend(images.ravel().tolist())
    return request


def wanting(request: oip.ModelInferRequest, *names: str, **parameters: Any) -> oip.ModelInferRequest:
    for name in names:
        output = request.outputs.add(name=name)
        for key, value in parameters.items():
            output.parameters[key].MergeFrom(parameter(value))
    return request


def parameter(value: Any) -> oip.InferParameter:
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    return oip.InferParameter(**{kinds[type(value)]: value})


def outputs_of(reply: oip.ModelInferResponse) -> dict[str, Any]:
    """By name: arrays, and of BYTES nested lists of bytes, whatever form the contents have."""
    found: dict[str, Any] = {}
    for number, tensor in enumerate(reply.outputs):
        if not reply.raw_output_contents:
            values = list(getattr(tensor.contents, LISTS[tensor.datatype]))
        elif tensor.datatype == "BYTES":
            values = elements_of(reply.raw_output_contents[number])
        else:
            values = np.frombuffer(reply.raw_output_contents[number], DTYPES[tensor.datatype]).tolist()
        kind = object if tensor.datatype == "BYTES" else DTYPES[tensor.datatype]
        array = np.empty(len(values), kind)
        array[:] = values
        found[tensor.name] = array.reshape(tuple(tensor.shape))
    return found


def elements_of(raw: bytes) -> list[bytes]:
    elements = []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        elements.append(raw[4 : 4 + length])
        assert len(elements[-1]) == length
        raw = raw[4 + length :]
    return elements
