"""ONNX graphs whose weights one file cannot hold."""

from pathlib import Path

import onnx
from onnx import ModelProto

MOST_BYTES = 2**31 - 1
"""Of one ONNX file: protobuf's limit."""

MOST_WEIGHT_BYTES = MOST_BYTES - 2**24
"""Weights that are written into the file of a graph; the rest is room for the graph itself. More lie in a file beside it."""


def weight_bytes(model: ModelProto) -> int:
    """Of all initialisers that lie inside the model."""
    return sum(tensor.ByteSize() for tensor in model.graph.initializer)


def write_model(model: ModelProto, path: Path) -> None:
    """Write a model with its weights inside; too many for one file go into `path`.data beside it, and out of `model`."""
    if weight_bytes(model) <= MOST_WEIGHT_BYTES:
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    location = f"{path.name}.data"
    onnx.save_model(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=location)
