"""The real tritonclient, in an environment of its own, against a real server."""

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.server.running import Process
from tests.server.tiny import coloured, png

CALLS = Path(__file__).with_name("triton_calls.py")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton") / "venv"
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    subprocess.run([interpreter, "-m", "pip", "install", "-q", "tritonclient[grpc]==2.73.0"], check=True, capture_output=True)
    return interpreter


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_tritonclient_works_unchanged(
    tiny_bundle: Path, tmp_path: Path, processes: list[Process], python: Path, workers: str
) -> None:
    pixels = np.concatenate([coloured(label, 1, seed=3) for label in range(3)])
    for number, image in enumerate(pixels):
        (tmp_path / f"{number}.png").write_bytes(png(image))
    np.save(tmp_path / "pixels.npy", pixels)
    process = Process(tiny_bundle, tmp_path, [sys.executable, "-m", "server"], "--workers", workers)
    processes.append(process)
    result = subprocess.run(
        [python, CALLS, process.address, "tiny", tmp_path], capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    answers = found["sync"]["files"]
    assert answers["labels"] == ["red", "green", "blue"]
    assert answers["abstain"] == "bool"
    for form in ("column", "pixels"):
        assert found["sync"][form] == answers
    assert found["aio"] == dict.fromkeys(("files", "column", "pixels"), answers)
    _check_what_is_told_of_the_model(found["sync"])


def _check_what_is_told_of_the_model(found: dict[str, Any]) -> None:
    assert found["ready"] == [True, True, True]
    assert not found["unknown ready"]
    assert found["server"] == "holdfast"
    assert found["inputs"] == {"images": "BYTES", "pixels": "UINT8"}
    assert found["outputs"]["probabilities"] == ["FP32", [-1, 3]]
    assert found["outputs"]["embedding"] == ["FP32", [-1, 8]]
    assert found["config"] == ["tiny", 256, ["images", "pixels"]]
    assert {"label", "credibility", "abstain"} <= set(found["default"])
    assert {"embedding", "neighbour_ids"}.isdisjoint(found["default"])
    assert [row[0].split(":")[1:] for row in found["classification"]] == [["0", "red"], ["1", "green"], ["2", "blue"]]
    assert found["neighbours"] == [[3, 2], [3, 2]]
    assert found["norms"] == [1, 1, 1]
    bad, other, unknown = found["refused"]
    assert "INVALID_ARGUMENT" in bad
    assert "images[0]" in bad
    assert "INVALID_ARGUMENT" in other
    assert "NOT_FOUND" in unknown
    assert found["statistics"] == [7 * 3, 7]
