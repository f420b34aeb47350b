"""Triton's clients over HTTP, as they are, in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.server.api.open_inference.test_tritonclient import FILES, PIXELS, assert_answers
from tests.server.running import Served


@pytest.fixture(scope="module")
def said(http: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, pixels=PIXELS, **{f"file{n}": np.frombuffer(file, np.uint8) for n, file in enumerate(FILES)})
    script, address = Path(__file__).with_name("http_clients.py"), http.app.http_url.removeprefix("http://")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(script), address, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("client", "form"),
    [*(("sync", form) for form in ("files", "files in JSON", "pixels", "pixels in JSON")), ("aio", "files"), ("aio", "pixels")],
)
def test_answers_are_those_of_holdfast_v1(http: Served, said: dict[str, Any], client: str, form: str) -> None:
    assert_answers(said[client][form], http)


def test_what_the_clients_are_told(http: Served, said: dict[str, Any]) -> None:
    sync = said["sync"]
    assert sync["live"] == said["aio"]["live"] == [True] * 3
    assert sync["not ready"] == [False, False]
    assert (sync["server"], sync["config"], sync["id"]) == ("holdfast", http.app.settings.max_images, "seven")
    assert [(model["name"], model["state"]) for model in sync["index"]] == [("tiny", "READY")]
    assert [row[0].split(":")[1:] for row in sync["classes"]] == [["2", "blue"], ["0", "red"], ["1", "green"]]
    assert sync["at once"] == [[2], [0], [1]]
    assert sync["statistics"] >= 20
    (other, _), (image, image_text), (packed, _) = sync["refusals"]
    assert (other, image, packed) == ("404", "400", "415")
    assert "image[1]" in image_text
