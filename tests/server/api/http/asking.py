"""Requests over HTTP, and what their replies hold."""

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import Any

import numpy as np

from tests.server.api.open_inference.asking import DTYPES, elements_of, prefixed
from tests.server.running import Served

INFER = "/v2/models/tiny/infer"
LENGTH = "Inference-Header-Content-Length"


@dataclass
class Reply:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        length = self.headers.get(LENGTH)
        return json.loads(self.body if length is None else self.body[: int(length)])

    @property
    def outputs(self) -> dict[str, Any]:
        """By name: arrays, and of BYTES those of bytes, whether they came as JSON or behind it."""
        found: dict[str, Any] = {}
        place = int(self.headers.get(LENGTH) or 0)
        for output in self.json["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size")
            texts = output["datatype"] == "BYTES"
            if size is None:
                values = [text.encode() for text in output["data"]] if texts else output["data"]
            else:
                raw = self.body[place : place + size]
                values = elements_of(raw) if texts else np.frombuffer(raw, DTYPES[output["datatype"]]).tolist()
                place += size
            array = np.empty(len(values), object if texts else DTYPES[output["datatype"]])
            array[:] = values
            found[output["name"]] = array.reshape(output["shape"])
        assert place in {0, len(self.body)}
        return found


def ask(
    served: Served, path: str, body: bytes | None = None, *, context: Any = None, method: str | None = None, **headers: str
) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(served.app.http_url + path, body, sent, method=method)  # noqa: S310 - our own address
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as reply:  # noqa: S310
            return Reply(reply.status, reply.headers, reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.headers, error.read())


def infer(served: Served, said: Any, *tensors: bytes, **headers: str) -> Reply:
    """A request of JSON, and of binary tensors behind it."""
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    if tensors:
        headers = {LENGTH.replace("-", "_"): str(len(text))} | headers
    return ask(served, INFER, b"".join([text, *tensors]), **headers)


def tensor(datatype: str, shape: Any, **fields: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": datatype, "shape": shape} | fields


def listed(values: Any, datatype: str = "UINT8", shape: Any = None, **fields: Any) -> dict[str, Any]:
    """A request with values in JSON; arrays as they are nested."""
    shape = list(np.shape(values)) if shape is None else shape
    data = values.tolist() if isinstance(values, np.ndarray) else values
    return {"inputs": [tensor(datatype, shape, data=data)]} | fields


def files(encoded: list[bytes], **fields: Any) -> dict[str, Any]:
    return listed([base64.b64encode(file).decode() for file in encoded], "BYTES", **fields)


def behind(datatype: str, shape: Any, size: Any, **fields: Any) -> dict[str, Any]:
    """The JSON of a request whose tensor is behind it."""
    return {"inputs": [tensor(datatype, shape, parameters={"binary_data_size": size})]} | fields


def binary_files(served: Served, encoded: list[bytes], **fields: Any) -> Reply:
    raw = prefixed(encoded)
    return infer(served, behind("BYTES", [len(encoded)], len(raw), **fields), raw)
