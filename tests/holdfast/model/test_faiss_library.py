"""A faiss that does not load, as faiss-gpu-cuvs without its CUDA wheels: one line from whoever needs it."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.errors import DeviceError
from holdfast.model.faiss_library import Unloadable, load
from tests.holdfast.bundle.tiny import write_bundle
from tests.refusals import one_line

REPOSITORY = Path(__file__).parents[3]
FAILURES = {
    "a fix-it of faiss": 'raise RuntimeError("the CUDA 13 runtime wheels\\nare missing")',
    "a library of CUDA": 'raise ImportError("libcudart.so.13: cannot open shared object file")',
    "the driver": 'raise OSError("libcuda.so.1: cannot open shared object file")',
}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def broken(tmp_path: Path, failure: str) -> dict[str, str]:
    """An environment whose faiss fails at its import."""
    (tmp_path / "faiss").mkdir()
    (tmp_path / "faiss/__init__.py").write_text(FAILURES[failure])
    return os.environ | {"PYTHONPATH": str(tmp_path)}


def run(module: str, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("failure", "device"), list(zip(FAILURES, ("cpu", "cuda", "auto"), strict=True)))
def test_the_server_says_it_in_one_line_on_either_device(tmp_path: Path, tiny: Path, failure: str, device: str) -> None:
    ended = run("server", "--bundle", str(tiny), "--device", device, environment=broken(tmp_path, failure))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert one_line(ended.stderr).startswith("holdfast serve: ")
    assert "faiss cannot be loaded: " in ended.stderr
    assert "missing" in ended.stderr or "cannot open shared object file" in ended.stderr
    assert "pip install '.[gpu]' again" in ended.stderr


@pytest.mark.parametrize("failure", FAILURES)
def test_so_does_who_looks_at_a_bundle(tmp_path: Path, tiny: Path, failure: str) -> None:
    ended = run("holdfast.bundle", "check", str(tiny), environment=broken(tmp_path, failure))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert one_line(ended.stderr).startswith("holdfast bundle: faiss cannot be loaded: ")


def test_what_loads_is_the_module_and_what_is_not_there_says_so_when_asked() -> None:
    assert load("json") is sys.modules["json"]
    absent = load("no_such_library")
    assert isinstance(absent, Unloadable)
    assert isinstance(copy.copy(absent), Unloadable)
    with pytest.raises(DeviceError, match="no_such_library.*pip install"):
        absent.read_index("x")
