"""Several ONNX graphs over one file of weights, in which each tensor lies once.

Encoder and gradient hold the same weights, and where these are float16 already, so does the encoder that computes in float16:
as files that stand alone they would be three times the bytes.
"""

import hashlib
from collections.abc import Iterable

from onnx import ModelProto, TensorProto, helper

PAGE = 4096
"""Where a tensor may begin, in bytes: ONNX recommends pages, which can be mapped instead of read."""

SMALLEST = 2048
"""Of the tensors that are moved, in bytes: what is smaller would cost more by where its page begins."""


def share_weights(models: Iterable[ModelProto], name: str) -> bytes:
    """Move the large initialisers of `models`, in place, into one file that is to be called `name` beside them.

    Tensors of the same bytes are stored once, whatever they are called. Each graph notes the SHA-256 of the file: so the hash
    of a graph remains one of all that it computes with, and differs between encoders.

    Returns:
        The content of the file.

    """
    models = list(models)
    content = bytearray()
    places: dict[bytes, int] = {}
    for model in models:
        for tensor in model.graph.initializer:
            data = tensor.raw_data
            if len(data) < SMALLEST:
                continue
            if data not in places:
                content.extend(bytes(-len(content) % PAGE))
                places[data] = len(content)
                content.extend(data)
            _point(tensor, name, places[data], len(data))
    digest = hashlib.sha256(content).hexdigest()
    for model in models:
        helper.set_model_props(model, {f"sha256 of {name}": digest})
    return bytes(content)


def _point(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
