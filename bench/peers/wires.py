"""How each kind of server wants to be asked, and where in its reply the labels are."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bench.peers.open_inference import INFER, ModelInferRequest, ModelInferResponse
from holdfast.protos.holdfast.v1 import holdfast_pb2, image_pb2

BOUNDARY = "c2f1a7e0"


@dataclass(frozen=True)
class Wire:
    """One way to send PNG files and get labels.

    Attributes:
        transport: what carries it.
        path: method of gRPC, or path of HTTP.
        body: of one call, from its files.
        labels: of one reply, from its bytes; None where it has none.
        content_type: HTTP's.

    """

    transport: Literal["grpc", "http"]
    path: str
    body: Callable[[Sequence[bytes]], bytes]
    labels: Callable[[bytes], list[int]] | None
    content_type: str = ""

    def http_request(self, body: bytes, address: str) -> bytes:
        """The whole request, head and body."""
        head = f"POST {self.path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: {self.content_type}\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def _holdfast_body(files: Sequence[bytes]) -> bytes:
    images = [image_pb2.Image(encoded=each) for each in files]
    return holdfast_pb2.ClassifyRequest(images=images).SerializeToString()


def _holdfast_labels(reply: bytes) -> list[int]:
    return [each.answer.label.index for each in holdfast_pb2.ClassifyResponse.FromString(reply).results]


def _json_label(reply: bytes) -> list[int]:
    found: Any = json.loads(reply)
    return [each["label"] for each in (found if isinstance(found, list) else [found])]


def _form(field: str) -> Callable[[Sequence[bytes]], bytes]:
    def body(files: Sequence[bytes]) -> bytes:
        head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{field}"; filename="a.png"\r\n'
        head += "content-type: image/png\r\n\r\n"
        return b"".join(head.encode() + each + b"\r\n" for each in files) + f"--{BOUNDARY}--\r\n".encode()

    return body


def _tensor_body(files: Sequence[bytes]) -> bytes:
    raw = b"".join(len(each).to_bytes(4, "little") + each for each in files)
    request = ModelInferRequest(model_name="classifier", raw_input_contents=[raw])
    request.inputs.add(name="image", datatype="BYTES", shape=[len(files), 1])
    return bytes(request.SerializeToString())


def _tensor_labels(reply: bytes) -> list[int]:
    found = ModelInferResponse.FromString(reply)
    place = [output.name for output in found.outputs].index("label")
    if found.raw_output_contents:
        return [int(each) for each in np.frombuffer(found.raw_output_contents[place], dtype="<i8")]
    return list(found.outputs[place].contents.int64_contents)


def _one_file(files: Sequence[bytes]) -> bytes:
    (only,) = files
    return only


HOLDFAST = Wire("grpc", "/holdfast.v1.HoldfastService/Classify", _holdfast_body, _holdfast_labels)
ECHO = replace(HOLDFAST, labels=None)
OPEN_INFERENCE = Wire("grpc", INFER, _tensor_body, _tensor_labels)


def file_over_http(path: str) -> Wire:
    """The file is the body."""
    return Wire("http", path, _one_file, _json_label, "image/png")


def form_over_http(path: str, field: str) -> Wire:
    """The file is a field of a form."""
    return Wire("http", path, _form(field), _json_label, f"multipart/form-data; boundary={BOUNDARY}")
