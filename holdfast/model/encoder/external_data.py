"""Which other files an ONNX graph reads, found without the onnx package, which a server does without.

Of the format's messages only those are declared here that may hold a tensor; the protobuf runtime passes over the rest
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from holdfast.errors import BundleError

_PACKAGE = "holdfast.onnx"

_FIELDS = {
    "Entry": {"key": (1, "string"), "value": (2, "string")},
    "Tensor": {"external_data": (13, "Entry")},
    "SparseTensor": {"values": (1, "Tensor"), "indices": (2, "Tensor")},
    "Attribute": {
        "t": (5, "Tensor"),
        "g": (6, "Graph"),
        "tensors": (10, "Tensor"),
        "graphs": (11, "Graph"),
        "sparse_tensor": (22, "SparseTensor"),
        "sparse_tensors": (23, "SparseTensor"),
    },
    "Node": {"attribute": (5, "Attribute")},
    "Graph": {"node": (1, "Node"), "initializer": (5, "Tensor"), "sparse_initializer": (15, "SparseTensor")},
    "Function": {"node": (7, "Node"), "attribute_proto": (11, "Attribute")},
    "Training": {"initialization": (1, "Graph"), "algorithm": (2, "Graph")},
    "Model": {"graph": (7, "Graph"), "training_info": (20, "Training"), "functions": (25, "Function")},
}
"""Message -> field -> its number and its type. All are repeated, which reads those that are not as well."""


def external_files(path: Path) -> set[str]:
    """The locations that the tensors of a graph name, as they stand in it. Raises BundleError where it is no ONNX graph."""
    model = _model_class()()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise BundleError(f"{path} is no ONNX graph: export it again") from None
    return {entry.value for tensor in _tensors(model) for entry in tensor.external_data if entry.key == "location"}


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor below a message."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.name == "Entry":
            continue
        for inner in value:
            if field.message_type.name == "Tensor":
                yield inner
            else:
                yield from _tensors(inner)


@cache
def _model_class() -> Any:
    file = FileDescriptorProto(name="holdfast/onnx.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number, label=FieldDescriptorProto.LABEL_REPEATED)
            if kind == "string":
                added.type, added.label = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.LABEL_OPTIONAL
            else:
                added.type, added.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))
