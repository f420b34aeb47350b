"""The exact index in a GPU's memory."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import DeviceError
from holdfast.model.answers import Floats, Neighbours
from holdfast.model.retrieval.faiss_library import faiss
from holdfast.model.retrieval.flat import SPARE, Candidates, FlatIndex, canonical, refuse_misfit

MAX_K = 2048 - SPARE
"""Most neighbours of one search: the kernels of faiss select 2,048, spare ones included."""

TEMPORARY_BYTES = 256 * 2**20
"""Of GPU memory, for similarities on their way to the best k. faiss would take 1.5 GB, beside ONNX Runtime's share."""


class GpuFlatIndex:
    """A FlatIndex searched on the GPU. Answers as the FlatIndex does, in the same canonical order.

    Similarities are float32 sums in another order, which the rounding to five digits hides but for ties at its edge. What
    was rounded to float16 for the disk is float32 here too, as on the CPU: faiss's own float16 index would round the queries
    as well, and credibility with them.

    A GPU index and its resources belong to one thread at a time: others wait at a lock.

    Args:
        index: the exemplars; kept, for its embeddings and ids.
        gpu: faiss, or a stand-in with its GPU functions.

    Raises:
        DeviceError: the GPU does not take the index, most often for want of memory.

    """

    def __init__(self, index: FlatIndex, *, gpu: Any = faiss) -> None:
        self._flat, self._ids, self._lock = index, index.ids, threading.Lock()
        embeddings, _ = index.vectors()
        rows = faiss.IndexFlatIP(index.dim)
        rows.add(embeddings)
        options = gpu.GpuClonerOptions()
        options.useFloat16 = False
        # faiss's own kernels: they keep to the temporary memory below, and gain nothing from cuVS in an exact search.
        options.use_cuvs = False
        try:
            self._resources = gpu.StandardGpuResources()
            self._resources.setTempMemory(TEMPORARY_BYTES)
            self._resources.setPinnedMemory(0)  # for transfers of more than 256 MB, which batches of queries are not
            self._rows = gpu.index_cpu_to_gpu(self._resources, 0, rows, options)
        except RuntimeError as error:
            raise DeviceError(
                f"the GPU does not take the index of {index.size} x {index.dim} in float32: {error}; where memory is short,"
                " end what else runs on it, or use the CPU"
            ) from None

    @property
    def size(self) -> int:
        """Number of exemplars M."""
        return self._flat.size

    @property
    def dim(self) -> int:
        """Embedding dimension D."""
        return self._flat.dim

    @property
    def half(self) -> bool:
        """Whether embeddings were rounded to float16. They are float32 on the GPU."""
        return self._flat.half

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64 [M], in the order of insertion."""
        return self._ids

    def vectors(self) -> tuple[Floats, NDArray[np.int64]]:
        """All embeddings float32 [M, D] and their ids int64 [M], in the order of insertion."""
        return self._flat.vectors()

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The k nearest exemplars of float32 [N, D] queries, in canonical order. Raises as `candidates`."""
        return canonical(*self.candidates(queries, k), k)

    def candidates(self, queries: Floats, k: int) -> Candidates:
        """The k nearest and a few more, as the GPU puts them in order.

        Raises:
            ContractMismatchError: queries of another dimension, or k larger than the index.
            DeviceError: k is more than a GPU selects.

        """
        refuse_misfit(self, queries, k)
        fetched = min(k + SPARE, self.size)
        if fetched > MAX_K + SPARE:
            raise DeviceError(f"k = {k} neighbours are more than the {MAX_K} that a GPU finds; search on the CPU")
        if len(queries) == 0:
            return np.zeros((0, fetched), dtype=np.float32), np.zeros((0, fetched), dtype=np.int64)
        with self._lock:
            similarities, rows = self._rows.search(np.ascontiguousarray(queries, dtype=np.float32), fetched)
        return similarities, self._ids[rows]
