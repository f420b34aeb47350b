"""ONNX Runtime sessions, on the CPU or on a GPU."""

from pathlib import Path
from typing import Any

from holdfast.errors import BundleError, DeviceError
from holdfast.model.encoder.device import CUDA_PROVIDER, Device, load_cuda_libraries
from holdfast.model.encoder.onnx_runtime import onnxruntime as ort

# The GPU is to answer as the CPU does, whose answers were evaluated, and to answer the same after every start.
CUDA_OPTIONS = {
    "device_id": "0",  # of those that CUDA_VISIBLE_DEVICES leaves
    # TF32, ONNX Runtime's default, keeps 10 bits of each factor: similarities would move by 1e-3.
    "use_tf32": "0",
    # EXHAUSTIVE, the default, takes whatever algorithm won a race at start, and its digits with it.
    "cudnn_conv_algo_search": "HEURISTIC",
    # Every shape is known after the warm-up, and faiss wants memory of the same GPU: no rounding up to powers of two.
    "arena_extend_strategy": "kSameAsRequested",
}


def open_session(path: Path, *, threads: int = 1, device: Device = "cpu") -> Any:
    """An ONNX Runtime session that keeps to `threads`, does not spin, and never leaves `device` in silence.

    ONNX Runtime takes the host's core count by default, whatever the container's limit is, and its idle threads spin beside
    everybody else's. On small encoders one thread is the fastest.

    Raises:
        BundleError: the file is not a graph that ONNX Runtime can load.
        DeviceError: "cuda", and ONNX Runtime cannot load the graph or its provider there.

    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if device == "cuda":
        return _open_on_gpu(path, options)
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no public base class
        raise BundleError(f"{path} cannot be loaded by ONNX Runtime: {error}; export it again") from None


def _open_on_gpu(path: Path, options: Any) -> Any:
    """ONNX Runtime moves to the CPU when a provider fails, at start and in the middle of its life: here it may not."""
    load_cuda_libraries()
    # Operators that have no CUDA kernel, as those that compute shapes, still run on the CPU.
    providers = [(CUDA_PROVIDER, CUDA_OPTIONS), "CPUExecutionProvider"]
    try:
        session: Any = ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # noqa: BLE001 - as above
        raise DeviceError(
            f"{path} cannot be loaded by ONNX Runtime on the GPU: {error}; if the CPU loads it, the GPU is at fault"
        ) from None
    if CUDA_PROVIDER not in session.get_providers():
        raise DeviceError(
            f"ONNX Runtime could not load its {CUDA_PROVIDER} and would have used the CPU (the reason is its own message,"
            f" above); most often CUDA {ort.cuda_version} or cuDNN 9 is missing: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
    return session
