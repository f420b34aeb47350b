"""faiss as it is installed here, or the reason why it does not load, which is raised where faiss is first needed.

A faiss for GPUs loads CUDA while it is being imported. Where a part of that is missing, the import fails, for a bundle on the
CPU too, and before a program can report an error. So the failure is kept here, and raised as a DeviceError at first use.
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
