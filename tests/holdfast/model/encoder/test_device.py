"""Which device is taken, and what is said where it cannot be."""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.errors import BundleError, DeviceError
from holdfast.model.encoder import device, session
from holdfast.model.encoder.device import CPU, Placement, find_gpu, place
from holdfast.model.encoder.nvidia import Driver, read_driver
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.model.encoder.onnx_runtime import onnxruntime as ort
from holdfast.model.faiss_library import Unloadable
from tests.holdfast.bundle.tiny import write_encoder


class Library:
    """libcuda with some GPUs. `statuses` are what its functions answer, 0 unless said otherwise."""

    def __init__(self, *gpus: str, version: int = 13020, **statuses: int) -> None:
        self._gpus, self._version, self._statuses = gpus, version, statuses

    def __getattr__(self, function: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            if function == "cuDeviceGetCount":
                arguments[0]._obj.value = len(self._gpus)
            elif function == "cuDriverGetVersion":
                arguments[0]._obj.value = self._version
            elif function == "cuDeviceGet":
                arguments[0]._obj.value = arguments[1]
            elif function == "cuDeviceGetName":
                assert arguments[1] == ctypes.sizeof(arguments[0])
                arguments[0].value = self._gpus[arguments[2].value].encode()
            else:
                assert (function, arguments) == ("cuInit", (0,))
            return self._statuses.get(function, 0)

        return call


def absent(name: str) -> Any:
    raise OSError(f"{name}: cannot open shared object file")


def test_the_driver_is_asked_for_its_version_and_its_gpus() -> None:
    driver = read_driver(lambda _: Library("NVIDIA H100", "NVIDIA L4", version=13020))
    assert driver == Driver((13, 2), ("NVIDIA H100", "NVIDIA L4"))


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (absent, "no NVIDIA driver here.*--gpus all"),
        (lambda _: Library(cuInit=100), r"no GPU is visible \(CUDA_VISIBLE_DEVICES is '-1'\)"),
        (lambda _: Library(), r"no GPU is visible \(CUDA_VISIBLE_DEVICES is '-1'\)"),
        (lambda _: Library("A", cuInit=803), "answers cuInit with error 803: see whether nvidia-smi works"),
    ],
)
def test_a_driver_that_will_not_do_says_why(monkeypatch: pytest.MonkeyPatch, load: Callable[[str], Any], message: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(DeviceError, match=message):
        read_driver(load)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine where nothing is missing; tests take away what they like."""
    loaded: list[str] = []
    onnxruntime = SimpleNamespace(
        preload_dlls=lambda: loaded.append("CUDA"),
        cuda_version="13.0",
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        get_ep_devices=list,
    )
    faiss = SimpleNamespace(StandardGpuResources=object, get_num_gpus=lambda: 1)
    machine = SimpleNamespace(onnxruntime=onnxruntime, faiss=faiss, driver=Driver((13, 2), ("NVIDIA H100",)), loaded=loaded)
    monkeypatch.setattr(device, "ort", onnxruntime)
    monkeypatch.setattr(device, "faiss", faiss)
    monkeypatch.setattr(device, "read_driver", lambda: machine.driver)
    # What is remembered here is not to be remembered by tests on a real GPU.
    monkeypatch.setattr(device, "load_cuda_libraries", cache(device.load_cuda_libraries.__wrapped__))
    return machine


def test_a_gpu_with_everything_is_found(machine: SimpleNamespace) -> None:
    assert find_gpu() == "NVIDIA H100"
    # A provider may be a plug-in, registered once its libraries are loaded.
    machine.onnxruntime.get_available_providers = lambda: ["CPUExecutionProvider"]
    machine.onnxruntime.get_ep_devices = lambda: [
        SimpleNamespace(ep_name=f"{name}ExecutionProvider") for name in machine.loaded
    ]
    assert find_gpu() == "NVIDIA H100"
    assert machine.loaded == ["CUDA"]  # once


def test_builds_for_the_cpu_are_named_with_the_way_out(machine: SimpleNamespace) -> None:
    machine.onnxruntime.get_available_providers = lambda: ["CPUExecutionProvider"]
    with pytest.raises(DeviceError, match=r"CUDAExecutionProvider.*\.\[gpu\]"):
        find_gpu()
    del machine.faiss.StandardGpuResources
    with pytest.raises(DeviceError, match="CUDAExecutionProvider.*StandardGpuResources"):
        find_gpu()


def test_a_faiss_that_does_not_load_is_named_beside_all_else(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "faiss", Unloadable("faiss", RuntimeError("the CUDA 13 runtime wheels\n  are missing")))
    with pytest.raises(DeviceError, match="CUDA 13 runtime wheels are missing"):
        find_gpu()
    machine.onnxruntime.get_available_providers = lambda: ["CPUExecutionProvider"]
    machine.driver = Driver((12, 8), ("NVIDIA H100",))
    with pytest.raises(DeviceError, match=r"wheels are missing.*\.\[gpu\].*CUDAExecutionProvider.*driver"):
        find_gpu()


def test_a_driver_older_than_the_libraries_is_named_before_faiss_would_abort(machine: SimpleNamespace) -> None:
    machine.driver = Driver((12, 8), ("NVIDIA H100",))
    machine.faiss.get_num_gpus = lambda: pytest.fail("faiss aborts here")
    with pytest.raises(DeviceError, match=r"12\.8.*13\.0.*driver"):
        find_gpu()


def test_a_faiss_without_gpus_is_named(machine: SimpleNamespace) -> None:
    machine.faiss.get_num_gpus = lambda: 0
    with pytest.raises(DeviceError, match="faiss sees no GPU"):
        find_gpu()


def test_what_this_machine_lacks_is_named() -> None:
    try:
        name = find_gpu()
    except DeviceError as error:
        assert str(error).startswith("the GPU cannot be used: ")
    else:
        assert name in read_driver().gpus


def refuse(placement: Placement) -> Placement:
    if placement.device == "cuda":
        raise DeviceError("out of memory")
    return placement


def test_only_auto_takes_the_cpu_for_the_gpu_and_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find_gpu", lambda: "NVIDIA H100")
    for choice in ("cuda", "auto"):
        assert place(choice, lambda placement: placement) == Placement("cuda", "NVIDIA H100")
    assert place("auto", refuse) == Placement("cpu", reason="out of memory")
    with pytest.raises(DeviceError, match="out of memory"):
        place("cuda", refuse)
    monkeypatch.setattr(device, "find_gpu", lambda: refuse(Placement("cuda")))
    assert place("auto", refuse) == Placement("cpu", reason="out of memory")
    with pytest.raises(DeviceError, match="out of memory"):
        place("cuda", lambda placement: placement)


def test_a_placement_reads_well() -> None:
    assert str(CPU) == "cpu"
    assert str(Placement("cuda", gpu="NVIDIA H100")) == "cuda: NVIDIA H100, in float32"
    assert str(Placement("cuda", gpu="NVIDIA H100", precision="float16")) == "cuda: NVIDIA H100, in float16"
    assert str(Placement("cpu", reason="no driver")) == "cpu: no driver"


def fake_sessions(monkeypatch: pytest.MonkeyPatch, outcome: Callable[..., Any]) -> list[dict[str, Any]]:
    """Sessions of an ONNX Runtime with CUDA; the arguments of each are kept."""
    asked: list[dict[str, Any]] = []

    def inference_session(path: str, options: Any, **arguments: Any) -> Any:
        asked.append(arguments)
        return outcome(path, options)

    fake = SimpleNamespace(SessionOptions=ort.SessionOptions, InferenceSession=inference_session, cuda_version="13.0")
    monkeypatch.setattr(session, "ort", fake)
    return asked


def test_a_provider_that_fails_to_load_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # ONNX Runtime prints a line and goes on with the CPU.
    write_encoder(tmp_path / "e.onnx")
    real = ort.InferenceSession
    asked = fake_sessions(monkeypatch, lambda path, options: real(path, options, providers=["CPUExecutionProvider"]))
    with pytest.raises(DeviceError, match=r"CUDA 13\.0.*cuDNN 9"):
        OnnxEncoder(tmp_path / "e.onnx", device="cuda")
    ((name, options), second) = asked[0]["providers"]
    assert (name, second, asked[0]["enable_fallback"]) == ("CUDAExecutionProvider", "CPUExecutionProvider", 0)
    assert (options["use_tf32"], options["cudnn_conv_algo_search"]) == ("0", "HEURISTIC")
    assert all(isinstance(value, str) for value in options.values())


def test_a_graph_that_fails_on_the_gpu_is_the_devices_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_sessions(monkeypatch, lambda *_: (_ for _ in ()).throw(RuntimeError("CUDA failure 2: out of memory")))
    with pytest.raises(DeviceError, match="GPU.*out of memory"):
        OnnxEncoder(tmp_path / "e.onnx", device="cuda")
    with pytest.raises(BundleError, match="ONNX Runtime.*CUDA failure"):
        OnnxEncoder(tmp_path / "e.onnx")
