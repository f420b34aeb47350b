"""The exact index in a GPU's memory."""

import threading
from typing import Any, ClassVar

import numpy as np

from holdfast.errors import DeviceError
from holdfast.model.answers import Floats, Neighbours
from holdfast.model.faiss_library import faiss
from holdfast.model.retrieval.base import SPARE, Bank, padded, refuse_misfit
from holdfast.model.retrieval.flat import FlatIndex

MOST_SELECTED = 2048
"""Most neighbours of one search: the kernels of faiss select so many."""

MAX_K = MOST_SELECTED - SPARE
"""Most neighbours that a vote can ask of a larger index, as it fetches a few to spare."""

TEMPORARY_BYTES = 256 * 2**20
"""Of GPU memory, for similarities on their way to the best k. faiss would take 1.5 GB, beside ONNX Runtime's share."""


class GpuFlatIndex:
    """A FlatIndex searched on the GPU. It answers as the FlatIndex does.

    Similarities are float32 sums in another order, which the rounding to five digits hides but for ties at its edge. What
    was rounded to float16 for the disk is float32 here too, as on the CPU: faiss's own float16 index would round the queries
    as well, and credibility with them.

    A GPU index and its resources belong to one thread at a time: others wait at a lock.

    Args:
        index: the exemplars; kept, for ids, labels and `export`.
        gpu: faiss, or a stand-in with its GPU functions.

    Raises:
        DeviceError: the GPU does not take the index, most often for want of memory.

    """

    kind: ClassVar[str] = "flat"

    def __init__(self, index: FlatIndex, *, gpu: Any = faiss) -> None:
        self._flat, self._lock = index, threading.Lock()
        index.drop_first_pass()
        rows = faiss.IndexFlatIP(index.dim)
        rows.add(index.export().embeddings)
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

    def __str__(self) -> str:
        return f"{self._flat}, float32 on the GPU"

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
        """Whether embeddings were rounded to float16."""
        return self._flat.half

    def export(self) -> Bank:
        """Every exemplar, in the order of insertion. The arrays are copies."""
        return self._flat.export()

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The k nearest exemplars of float32 [N, D] queries; see `Retriever.search`.

        Raises:
            DeviceError: k is more than a GPU selects.

        """
        refuse_misfit(self.dim, queries, k)
        fetched = min(k, self.size)
        if fetched > MOST_SELECTED:
            raise DeviceError(
                f"{k} neighbours are more than the {MOST_SELECTED} that a GPU finds: vote with k = {MAX_K} at most,"
                " or search on the CPU"
            )
        if len(queries) == 0:
            nothing = np.zeros((0, k), dtype=np.int64)
            return Neighbours(nothing, nothing, nothing.astype(np.float32))
        with self._lock:
            similarities, rows = self._rows.search(np.ascontiguousarray(queries, dtype=np.float32), fetched)
        return padded(self._flat.named(rows, similarities), k)
