"""Where a bundle computes: what an operator asks for, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar

from holdfast.errors import DeviceError
from holdfast.model.device_choice import DeviceChoice, Precision
from holdfast.model.encoder.nvidia import read_driver
from holdfast.model.encoder.onnx_runtime import onnxruntime as ort
from holdfast.model.faiss_library import Unloadable, faiss

T = TypeVar("T")

Device = Literal["cpu", "cuda"]
"""Where encoder and index run: "cuda" is the first GPU that CUDA shows to this process."""

CUDA_PROVIDER = "CUDAExecutionProvider"
EXCHANGE = "uninstall onnxruntime and faiss-cpu, then pip install '.[gpu]' in the place of '.[serve]', never both"


@dataclass(frozen=True, slots=True)
class Placement:
    """The device that was taken.

    Attributes:
        device: "cpu" or "cuda".
        gpu: its name as the driver says it; "" on the CPU.
        reason: why "auto" took the CPU; "" otherwise.
        precision: what the encoder's convolutions compute in; always float32 on the CPU.

    """

    device: Device = "cpu"
    gpu: str = ""
    reason: str = ""
    precision: Precision = "float32"

    def __str__(self) -> str:
        if self.device == "cpu":
            return f"cpu: {self.reason}" if self.reason else "cpu"
        return f"{self.device}: {self.gpu}, in {self.precision}"


CPU = Placement()


def place(choice: DeviceChoice, open_on: Callable[[Placement], T], precision: Precision = "float32") -> T:
    """Open something on the device of choice. The CPU takes the GPU's place only for "auto", and the placement says why.

    Args:
        choice: what is asked for.
        open_on: opens it; may raise DeviceError, as where the GPU's memory is too small.
        precision: of a GPU. Where "auto" takes the CPU, that is float32 whatever was asked for, and the placement says so.

    Raises:
        DeviceError: "cuda", and the GPU cannot be used; or "cpu" and float16, which only a GPU computes.

    """
    if choice == "cpu":
        if precision != "float32":
            raise DeviceError(f"the CPU computes in float32 only: leave {precision} away, or take a GPU")
        return open_on(CPU)
    try:
        return open_on(Placement("cuda", gpu=find_gpu(), precision=precision))
    except DeviceError as error:
        if choice == "cuda":
            raise
        reason = str(error)
    return open_on(Placement("cpu", reason=reason))


def find_gpu() -> str:
    """The name of the GPU to use, once everything that it takes is known to be there.

    Raises:
        DeviceError: names everything that is missing, and what to do about each.

    """
    load_cuda_libraries()
    missing = [faiss.reason] if isinstance(faiss, Unloadable) else []
    if lacking := _lacking_builds():
        missing.append(f"{' and '.join(lacking)}: {EXCHANGE}")
    gpu = ""
    try:
        gpu = _gpu_of_driver()
    except DeviceError as error:
        missing.append(str(error))
    # Only with a driver that works: faiss aborts the process on one that is too old.
    if not missing and faiss.get_num_gpus() == 0:
        missing.append("faiss sees no GPU, though the driver does: see whether faiss was built for this GPU")
    if missing:
        raise DeviceError(f"the GPU cannot be used: {'; '.join(missing)}")
    return gpu


@cache
def load_cuda_libraries() -> None:
    """Load CUDA and cuDNN where they came as Python wheels, which lie where no loader looks. Does nothing in a CPU build."""
    ort.preload_dlls()


def _lacking_builds() -> list[str]:
    """What the installed libraries were built without."""
    # The provider is built in, or a plug-in that is registered once its libraries are loaded.
    providers = {*ort.get_available_providers(), *(device.ep_name for device in ort.get_ep_devices())}
    onnxruntime = [] if CUDA_PROVIDER in providers else [f"this onnxruntime has no {CUDA_PROVIDER}"]
    if isinstance(faiss, Unloadable) or hasattr(faiss, "StandardGpuResources"):
        return onnxruntime
    return [*onnxruntime, "this faiss has no StandardGpuResources"]


def _gpu_of_driver() -> str:
    driver = read_driver()
    built_for = ort.cuda_version or "0"
    if driver.cuda[0] < int(built_for.split(".")[0]):
        shown = ".".join(map(str, driver.cuda))
        raise DeviceError(
            f"the NVIDIA driver runs CUDA {shown} at most, onnxruntime is built for {built_for}: update the driver"
        )
    return driver.gpus[0]
