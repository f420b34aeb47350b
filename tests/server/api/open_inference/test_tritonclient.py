"""The client of Triton, as it is, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.protos.holdfast.v1 import holdfast_pb2, image_pb2
from holdfast.protos.inference import model_config_pb2, service_pb2
from tests.server.api.open_inference.client_messages import fields_of
from tests.server.running import Served
from tests.server.tiny import DIM, coloured, png

HERE = Path(__file__).parent
PIXELS = np.concatenate([coloured(label, 1, seed=11) for label in (2, 0, 1)])
FILES = [png(image) for image in PIXELS]


def run(script: str, *arguments: str) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "error", str(HERE / script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, pixels=PIXELS, **{f"file{n}": np.frombuffer(file, np.uint8) for n, file in enumerate(FILES)})
    return path


@pytest.fixture(scope="module")
def said(served: Served, images: Path) -> dict[str, Any]:
    return run("grpc_clients.py", served.app.address, str(images))


def assert_answers(found: dict[str, Any], served: Served) -> None:
    request = holdfast_pb2.ClassifyRequest(images=[image_pb2.Image(encoded=file) for file in FILES])
    answers = [result.answer for result in served.stub.Classify(request).results]
    assert found["label"] == [answer.label.index for answer in answers] == [2, 0, 1]
    assert found["label_name"] == ["blue", "red", "green"]
    np.testing.assert_array_equal(found["probabilities"], [list(answer.probabilities) for answer in answers])
    assert found["credibility"] == [answer.credibility for answer in answers]
    assert found["abstain"] == [answer.abstain for answer in answers]
    np.testing.assert_allclose(found["soft_margin"], [answer.soft_margin for answer in answers], rtol=1e-3)


@pytest.mark.parametrize("client", ["sync", "aio"])
@pytest.mark.parametrize("form", ["files", "pixels"])
def test_answers_are_those_of_holdfast_v1(served: Served, said: dict[str, Any], client: str, form: str) -> None:
    assert_answers(said[client][form], served)


def test_what_the_clients_are_told(served: Served, said: dict[str, Any]) -> None:
    sync, version = said["sync"], served.app.holder.current.description.bundle_version
    assert sync["live"] == said["aio"]["live"] == [True] * 3
    assert sync["not ready"] == [False, False]
    assert sync["server"]["name"] == "holdfast"
    assert (sync["model"]["name"], sync["model"]["versions"]) == ("tiny", [version])
    assert (sync["config"]["name"], sync["config"]["max_batch_size"]) == ("tiny", served.app.settings.max_images)
    assert sync["index"] == [{"name": "tiny", "version": version, "state": "READY"}]
    assert sync["id"] == "seven"
    assert sync["embedding"] == [3, DIM]
    assert [text.split(":")[1:] for text in sync["classes"]["probabilities"][::2]] == [
        ["2", "blue"],
        ["0", "red"],
        ["1", "green"],
    ]
    assert sync["partial"]["label"] == [2, -1]
    assert [bool(text) for text in sync["partial"]["error"]] == [False, True]
    assert int(sync["statistics"]["inference_count"]) >= 10


def test_clients_are_told_what_is_wrong(said: dict[str, Any]) -> None:
    (other, other_text), (image, image_text), (memory, _) = said["sync"]["refusals"]
    assert (other, image, memory) == ("StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT", "StatusCode.UNIMPLEMENTED")
    assert "'tiny'" in other_text
    assert "image[1]" in image_text


def test_streams_reply_in_order(said: dict[str, Any]) -> None:
    assert said["sync"]["stream"] == ["0", "1", "2", "error", "4", "5"]
    assert said["aio"]["stream"] == [["0", [2]], ["1", [0]], ["2", [1]]]


def test_messages_are_those_of_the_client() -> None:
    ours = fields_of((service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR))
    theirs = run("client_messages.py")
    assert len(ours) > 100
    assert {name: theirs.get(name) for name in ours} == ours
