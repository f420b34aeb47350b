"""What a .proto file holds. Run by itself it prints what the client of Triton knows, as JSON, from a process of its own."""

import json
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, FileDescriptor


def fields_of(files: Iterable[FileDescriptor]) -> dict[str, list[Any]]:
    """By full name: of fields number, kind and repetition, of methods messages and streams, of enums' values the number."""
    found: dict[str, list[Any]] = {}

    def add(message: Descriptor) -> None:
        for field in message.fields:
            found[field.full_name] = [field.number, field.type, field.is_repeated]
        for nested in message.nested_types:
            add(nested)

    for file in files:
        for message in file.message_types_by_name.values():
            add(message)
        for service in file.services_by_name.values():
            for method in service.methods:
                streams = [method.client_streaming, method.server_streaming]
                found[method.full_name] = [method.input_type.full_name, method.output_type.full_name, *streams]
        for enum in file.enum_types_by_name.values():
            found |= {f"{enum.full_name}.{value.name}": [value.number] for value in enum.values}
    return found


if __name__ == "__main__":
    from tritonclient.grpc import model_config_pb2, service_pb2

    print(json.dumps(fields_of((service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR))))
