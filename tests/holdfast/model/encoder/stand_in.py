"""A GPU for machines without one: the CUDA path of a bundle, with buffers and rows that lie in the CPU's memory."""

import threading
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from holdfast.bundle import reader
from holdfast.model.encoder import device as device_module
from holdfast.model.encoder.bucketed import BucketedEncoder
from holdfast.model.encoder.onnx import OnnxGradient
from holdfast.model.retrieval import flat_gpu
from holdfast.model.retrieval.flat_gpu import GpuFlatIndex

NAME = "Stand-in 3000"
MOST_SELECTED = 2048


class OneAtATime:
    """Fails where two threads are inside at once."""

    def __init__(self) -> None:
        self._lock, self.entries = threading.Lock(), 0

    def __enter__(self) -> None:
        assert self._lock.acquire(blocking=False), "two threads at once"
        self.entries += 1

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Resources:
    """faiss.StandardGpuResources."""

    def __init__(self) -> None:
        self.temporary = self.pinned = None
        self.alone = OneAtATime()

    def setTempMemory(self, size: int) -> None:  # noqa: N802 - faiss's names
        self.temporary = size

    def setPinnedMemory(self, size: int) -> None:  # noqa: N802
        self.pinned = size


class Rows:
    """What faiss makes of an IndexFlatIP on a GPU: float16 where asked, and no more than 2,048 neighbours."""

    def __init__(self, resources: Resources, index: Any, options: Any) -> None:
        self.resources, self._index, self.options = resources, index, options

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        with self.resources.alone:
            if k > MOST_SELECTED:
                raise RuntimeError(f"GPU index only supports min/max-K selection up to {MOST_SELECTED} (requested {k})")
            rounded = queries.astype(np.float16).astype(np.float32) if self.options.useFloat16 else queries
            return self._index.search(rounded, k)


class StandInGpu:
    """The GPU functions of faiss; `full` has no memory left."""

    def __init__(self, *, full: bool = False) -> None:
        self.made: list[Rows] = []
        self.gradients: list[str] = []  # the devices on which gradients were opened
        self._full = full
        self.StandardGpuResources = Resources
        self.GpuClonerOptions = partial(SimpleNamespace, useFloat16=None, use_cuvs=True)

    def index_cpu_to_gpu(self, resources: Resources, device: int, index: Any, options: Any) -> Rows:
        assert (device, type(index).__name__) == (0, "IndexFlatIP")
        if self._full:
            raise RuntimeError("StandardGpuResources: alloc fail (cudaMalloc error out of memory [2])")
        self.made.append(Rows(resources, index, options))
        return self.made[-1]


def pretend_gpu(monkeypatch: pytest.MonkeyPatch, gpu: StandInGpu | None = None) -> StandInGpu:
    """Lets bundles open with device "cuda", on the CPU."""
    gpu = gpu or StandInGpu()

    def encoder(path: Any, *, device: str, **options: Any) -> BucketedEncoder:
        assert device == "cuda"
        return BucketedEncoder(path, device="cpu", **options)

    def gradient(path: Any, *, device: str, **options: Any) -> OnnxGradient:
        gpu.gradients.append(device)
        return OnnxGradient(path, **options)

    monkeypatch.setattr(device_module, "find_gpu", lambda: NAME)
    monkeypatch.setattr(reader, "OnnxGradient", gradient)
    monkeypatch.setattr(reader, "BucketedEncoder", encoder)
    monkeypatch.setattr(flat_gpu, "GpuFlatIndex", partial(GpuFlatIndex, gpu=gpu))
    return gpu
