"""faiss as it is installed here, or the reason why it does not load, which is raised where faiss is first needed.

A faiss for GPUs loads CUDA while it is being imported. Where a part of that is missing, the import fails, for a bundle on the
CPU too, and before a program can report an error. So the failure is kept here, and raised as a DeviceError at first use.
"""

import importlib
from pathlib import Path
from threading import Lock
from typing import Any

from holdfast.errors import BundleError, DeviceError

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

BOUNDS_READING = not isinstance(faiss, Unloadable) and hasattr(faiss, "set_deserialization_vector_byte_limit")
"""Whether this faiss can bound what it reads; the bound is global to the process."""

_BOUNDED = Lock()


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


def read_index(path: Path, flags: int = 0) -> Any:
    """Read a faiss index. Check its hash first: faiss's reader is not made for hostile files.

    Args:
        path: what faiss wrote.
        flags: of faiss's reader.

    Raises:
        BundleError: it is no such file, or promises more than it holds.

    """
    with _BOUNDED:
        # A length in the file is believed, and as much memory filled with zeros: none is longer than the file is.
        most = faiss.get_deserialization_vector_byte_limit() if BOUNDS_READING else 0
        if BOUNDS_READING:
            faiss.set_deserialization_vector_byte_limit(max(path.stat().st_size, 1))
        try:
            return faiss.read_index(str(path), flags)
        except (RuntimeError, MemoryError) as error:
            said = " ".join(str(error).split())
            raise BundleError(f"{path} is not a faiss index: {said}; build it again with holdfast index") from None
        finally:
            if BOUNDS_READING:
                faiss.set_deserialization_vector_byte_limit(most)
