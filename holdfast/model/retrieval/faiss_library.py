"""faiss as it is installed here, or what keeps it from loading, which is said by the first who needs it.

A faiss for GPUs loads CUDA while it is being imported. Where a part of that is missing, the import fails, on the CPU's way too
and before anybody could say what to do; so the failure waits here until it can be told like any other.
"""

import importlib
from typing import Any

from holdfast.errors import DeviceError

REMEDY = (
    "pip install '.[gpu]' again, all of it; or, for the CPU alone, uninstall faiss-gpu-cuvs and onnxruntime-gpu,"
    " then pip install '.[serve]'"
)


class Unloadable:
    """In the place of a library that does not load: whatever is asked of it is refused, with the reason.

    Raises:
        DeviceError: at any attribute, with what the import said and what to do.

    """

    def __init__(self, name: str, error: Exception) -> None:
        said = " ".join(str(error).split())  # one line, however many the import took
        self.reason = f"{name} cannot be loaded: {said}: {REMEDY}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself asks for, as when something is copied or printed
            raise AttributeError(name)
        raise DeviceError(self.reason)


def load(name: str) -> Any:
    """The module of that name, or an `Unloadable` in its place."""
    try:
        return importlib.import_module(name)
    # RuntimeError is what faiss-gpu-cuvs says of missing wheels, the others what the loader says of missing libraries.
    except (ImportError, OSError, RuntimeError) as error:
        return Unloadable(name, error)


faiss: Any = load("faiss")
