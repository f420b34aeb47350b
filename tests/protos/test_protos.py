import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

from holdfast.protos.generate import PACKAGES, ROOT, generate
from holdfast.protos.holdfast.admin.v1 import admin_pb2, exemplar_pb2, version_pb2
from holdfast.protos.holdfast.v1 import answer_pb2, holdfast_pb2, image_pb2, model_pb2
from holdfast.protos.inference import model_config_pb2, service_pb2
from holdfast.protos.lint import lint

PUBLIC: tuple[FileDescriptor, ...] = tuple(m.DESCRIPTOR for m in (answer_pb2, holdfast_pb2, image_pb2, model_pb2))
ADMIN: tuple[FileDescriptor, ...] = tuple(m.DESCRIPTOR for m in (admin_pb2, exemplar_pb2, version_pb2))

OPEN_INFERENCE: tuple[FileDescriptor, ...] = (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)


def test_regenerating_changes_nothing(tmp_path: Path) -> None:
    # protoc writes warnings of its own to stderr; a failure raises
    written = generate(tmp_path)
    stubs = [path for package in PACKAGES for path in (ROOT / package).glob("*_pb2*")]
    committed = {path.relative_to(ROOT) for path in stubs if path.suffix in {".py", ".pyi"}}
    committed |= {path.relative_to(ROOT) for path in ROOT.glob("google/**/*.proto")}
    assert set(written) == committed
    for relative in written:
        assert (tmp_path / relative).read_text() == (ROOT / relative).read_text(), f"{relative}: run python -m protos"


def test_buf_lint_is_clean() -> None:
    assert lint() == ""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileDescriptorProto]:
    """Every .proto file below protos/ with all that it imports, found below protos/ and in the compiler alone."""
    out = tmp_path_factory.mktemp("compiled") / "all.binpb"
    sources = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto")]
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", "--include_imports", f"--descriptor_set_out={out}"]
    done = subprocess.run([*compiler, *sources], cwd=out.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {file.name: file for file in FileDescriptorSet.FromString(out.read_bytes()).file}


def test_all_that_is_imported_is_there(compiled: dict[str, FileDescriptorProto]) -> None:
    imported = {name for file in compiled.values() for name in file.dependency}
    assert {"google/rpc/status.proto", "holdfast/v1/image.proto"} <= imported
    assert {name for name in imported if not (ROOT / name).is_file()} == {
        f"google/protobuf/{name}.proto" for name in ("any", "duration", "timestamp")
    }


def without_json_names(messages: Iterable[DescriptorProto]) -> None:
    """protoc derives them from the names, and Python's descriptors leave them out."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        without_json_names(message.nested_type)


@pytest.mark.parametrize("module", [status_pb2, error_details_pb2])
def test_what_is_imported_declares_what_python_uses(module: object, compiled: dict[str, FileDescriptorProto]) -> None:
    used = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(used)  # type: ignore[attr-defined]
    shipped = compiled[used.name]
    without_json_names(shipped.message_type)
    assert shipped == used


def test_enums_start_unspecified() -> None:
    for file in PUBLIC + ADMIN:
        for enum in file.enum_types_by_name.values():
            assert enum.values_by_number[0].name.endswith("_UNSPECIFIED")


def test_files_keep_their_canonical_names() -> None:
    # what reflection shows, and what stubs of other languages import
    assert {f.name for f in PUBLIC} == {f"holdfast/v1/{n}.proto" for n in ("answer", "holdfast", "image", "model")}
    assert {f.package for f in PUBLIC} == {"holdfast.v1"}
    assert {f.name for f in ADMIN} == {f"holdfast/admin/v1/{n}.proto" for n in ("admin", "exemplar", "version")}
    assert {f.package for f in ADMIN} == {"holdfast.admin.v1"}
    assert {f.name for f in OPEN_INFERENCE} == {"inference/service.proto", "inference/model_config.proto"}
    assert {f.package for f in OPEN_INFERENCE} == {"inference"}  # as every client of the protocol calls it


def test_what_callers_may_use_knows_nothing_of_what_operators_may() -> None:
    assert not {d.name for file in PUBLIC for d in file.dependencies} & {file.name for file in ADMIN}


def test_the_service_is_the_one_of_the_readme() -> None:
    service = holdfast_pb2.DESCRIPTOR.services_by_name["HoldfastService"]
    streams = {m.name: (m.client_streaming, m.server_streaming) for m in service.methods}
    assert streams == {
        "Classify": (False, False),
        "ClassifyStream": (True, True),
        "Embed": (False, False),
        "GetModelInfo": (False, False),
    }
