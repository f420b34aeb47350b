"""What NVIDIA's driver says of itself. It is asked first: faiss aborts the process on a driver that is too old for it."""

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.errors import DeviceError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver that works.

    Attributes:
        cuda: the newest CUDA it can run, (major, minor).
        gpus: names of the GPUs that this process may see, in CUDA's order; at least one.

    """

    cuda: tuple[int, int]
    gpus: tuple[str, ...]


def read_driver(load: Callable[[str], Any] = ctypes.CDLL) -> Driver:
    """Ask the driver for its version and its GPUs. `load` opens a shared library.

    Raises:
        DeviceError: no driver, a driver that does not start, or no GPU that this process may see.

    """
    try:
        library = load(LIBRARY)
    except OSError:
        raise DeviceError(f"there is no NVIDIA driver here ({LIBRARY}): install it; in a container, use --gpus all") from None
    _call(library, "cuInit", 0)
    count = _number(library, "cuDeviceGetCount")
    if count == 0:
        raise DeviceError(_nothing_visible())
    version = _number(library, "cuDriverGetVersion")  # 13020 is 13.2
    return Driver((version // 1000, version % 1000 // 10), tuple(_name(library, index) for index in range(count)))


def _name(library: Any, index: int) -> str:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    _call(library, "cuDeviceGet", ctypes.byref(device), index)
    _call(library, "cuDeviceGetName", name, len(name), device)
    return name.value.decode(errors="replace")


def _number(library: Any, function: str) -> int:
    answer = ctypes.c_int()
    _call(library, function, ctypes.byref(answer))
    return answer.value


def _call(library: Any, function: str, *arguments: object) -> None:
    status = getattr(library, function)(*arguments)
    if status == NO_DEVICE:
        raise DeviceError(_nothing_visible())
    if status != 0:
        raise DeviceError(f"the NVIDIA driver answers {function} with error {status}: see whether nvidia-smi works")


def _nothing_visible() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
    return f"no GPU is visible{hidden}: see what nvidia-smi lists; in a container, use --gpus all"
