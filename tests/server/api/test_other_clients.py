"""A real server, called by clients that are not ours and not Python's: buf, in Go, and Node's, from the .proto files alone."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from holdfast.protos.generate import ROOT
from holdfast.protos.lint import find_buf
from tests.server.running import Served
from tests.server.tiny import COLOURS, DIM, coloured, png

NODE = Path(__file__).parent / "node"
METHOD = "holdfast.v1.HoldfastService/Classify"


def buf_curl(served: Served, method: str, request: object, *source: str) -> subprocess.CompletedProcess[str]:
    url = f"http://{served.app.address}/{method}"
    command = [str(find_buf()), "curl", "--protocol", "grpc", "--http2-prior-knowledge", *source, "--data", "@-", url]
    sent = json.dumps(request)
    return subprocess.run(command, input=sent, capture_output=True, text=True, check=False, timeout=60)


def image_of(label: int) -> bytes:
    return png(coloured(label, 1, seed=400 + label)[0])


@pytest.mark.parametrize("source", [("--schema", str(ROOT)), ("--reflect",)], ids=["files", "reflection"])
def test_buf_classifies(served: Served, source: tuple[str, ...]) -> None:
    encoded = base64.b64encode(image_of(1)).decode()
    done = buf_curl(served, METHOD, {"images": [{"encoded": encoded}, {}], "neighbours": 2}, *source)
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["results"]
    assert first["answer"]["label"] == {"index": 1, "name": list(COLOURS)[1]}
    assert len(first["answer"]["neighbours"]) == 2
    assert second["error"]["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_buf_reads_the_details_of_a_refusal(served: Served) -> None:
    done = buf_curl(served, METHOD, {"images": []}, "--schema", str(ROOT))
    assert done.returncode != 0
    refusal = json.loads(done.stderr)
    assert refusal["code"] == "invalid_argument"
    (detail,) = refusal["details"]
    assert detail["type"] == "google.rpc.BadRequest"
    value = base64.b64decode(detail["value"] + "==")
    violations = error_details_pb2.BadRequest.FromString(value).field_violations
    assert [violation.field for violation in violations] == ["images"]


@pytest.fixture(scope="module")
def by_node(served: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the Node client printed."""
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    if not (NODE / "node_modules").is_dir():
        pytest.skip(f"the client's packages are not installed: npm ci --ignore-scripts --prefix {NODE}")
    image = tmp_path_factory.mktemp("node") / "image.png"
    image.write_bytes(image_of(1))
    command = ["node", str(NODE / "client.mjs"), str(ROOT), served.app.address, str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_node_calls_every_method(by_node: dict[str, Any]) -> None:
    assert by_node["class_names"] == list(COLOURS)
    first, second = by_node["classified"]["results"]
    assert first["outcome"] == "answer"
    assert first["answer"]["label"] == {"index": 1, "name": list(COLOURS)[1]}
    assert len(first["answer"]["neighbours"]) == 2
    assert second["error"]["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert sorted(answer["sequence"] for answer in by_node["streamed"]) == ["7", "8"]
    assert {answer["results"][0]["answer"]["label"]["index"] for answer in by_node["streamed"]} == {1}
    (embedded,) = by_node["embedded"]["results"]
    assert len(embedded["embedding"]["values"]) == DIM


def test_node_reads_the_details_of_a_refusal(by_node: dict[str, Any]) -> None:
    refused = by_node["refused"]
    assert refused["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    (detail,) = refused["details"]
    assert [violation["field"] for violation in detail["field_violations"]] == ["images"]
