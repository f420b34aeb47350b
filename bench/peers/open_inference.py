"""As much of the Open Inference Protocol's messages as a caller with one BYTES tensor needs, by their field numbers."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "bench.open_inference"
INFER = "/inference.GRPCInferenceService/ModelInfer"
_TYPES = descriptor_pb2.FieldDescriptorProto


def _add(file: descriptor_pb2.FileDescriptorProto, message_name: str, /, **fields: tuple[int, str]) -> None:
    message = file.message_type.add(name=message_name)
    for field, (number, declared) in fields.items():
        made, kind = message.field.add(name=field, number=number), declared.removeprefix("*")
        made.label = _TYPES.LABEL_REPEATED if declared.startswith("*") else _TYPES.LABEL_OPTIONAL
        if kind in {"string", "bytes", "int64"}:
            made.type = _TYPES.Type.Value(f"TYPE_{kind.upper()}")
        else:
            made.type, made.type_name = _TYPES.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="bench/open_inference.proto", package=PACKAGE, syntax="proto3")
    _add(file, "Tensor", name=(1, "string"), datatype=(2, "string"), shape=(3, "*int64"), contents=(5, "Contents"))
    _add(file, "Contents", int64_contents=(3, "*int64"))
    _add(file, "ModelInferRequest", model_name=(1, "string"), inputs=(5, "*Tensor"), raw_input_contents=(7, "*bytes"))
    _add(file, "ModelInferResponse", outputs=(5, "*Tensor"), raw_output_contents=(6, "*bytes"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in ("ModelInferRequest", "ModelInferResponse")
    }


_made = _messages()
ModelInferRequest, ModelInferResponse = _made["ModelInferRequest"], _made["ModelInferResponse"]
