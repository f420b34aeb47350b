"""faiss as it is installed here, or the reason why it does not load, which is raised where faiss is first needed.

A faiss for GPUs loads CUDA while it is being imported. Where a part of that is missing, the import fails, for a bundle on the
CPU too, and before a program can report an error. So the failure is kept here, and raised as a DeviceError at first use.
"""

import importlib
from pathlib import Path
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


def write_index(index: Any, path: Path) -> None:
    """Write a faiss index, whole.

    faiss's own writer closes the file without a look at what that said, and leaves an index cut short on a full disk.

    Raises:
        OSError: the disk does not take it.

    """
    failures: list[OSError] = []
    with path.open("wb") as file:

        def write(data: bytes) -> None:
            try:
                file.write(data)
            except OSError as error:  # which would not pass through faiss
                failures.append(error)

        faiss.write_index(index, faiss.PyCallbackIOWriter(write))
        if failures:
            raise failures[0]
