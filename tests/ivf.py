"""A second kind of index: faiss's inverted file, which looks at some of the exemplars only. It stands in for any other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import faiss
import numpy as np
import pytest

from holdfast.errors import BundleError
from holdfast.model.answers import Neighbours
from holdfast.model.retrieval.base import Bank, refuse_misfit
from holdfast.model.retrieval.table import RETRIEVERS, RetrieverKind

KINDS = ("flat", "ivf")


class IvfIndex:
    """IndexIVFFlat by inner product. It hands nothing out: see `ExportingIvfIndex`."""

    kind: ClassVar[str] = "ivf"

    def __init__(self, index: Any, ids: np.ndarray, labels: np.ndarray) -> None:
        self._index, self._ids, self._labels = index, ids, labels
        index.nprobe = max(1, index.nlist // 2)

    def __str__(self) -> str:
        return f"ivf of {self._index.nlist} cells"

    @property
    def size(self) -> int:
        return self._index.ntotal

    @property
    def dim(self) -> int:
        return self._index.d

    def search(self, queries: np.ndarray, k: int) -> Neighbours:
        refuse_misfit(self, queries, k)
        similarities, rows = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
        missing = rows < 0
        similarities[missing] = -np.inf
        return Neighbours(np.where(missing, -1, self._ids[rows]), np.where(missing, -1, self._labels[rows]), similarities)

    @classmethod
    def build(cls, bank: Bank) -> "IvfIndex":
        rows, dim = bank.embeddings.shape
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, max(1, round(rows**0.5 / 4)), faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid = 1
        index.train(bank.embeddings)
        index.add(bank.embeddings)
        return cls(index, bank.ids, bank.labels)

    @property
    def parameters(self) -> dict[str, int]:
        return {}

    def writers(self) -> tuple[Callable[[Path], None]]:
        return (self.save,)

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path, ids: np.ndarray, labels: np.ndarray) -> "IvfIndex":
        try:
            return cls(faiss.read_index(str(path)), ids, labels)
        except RuntimeError as error:
            raise BundleError(f"{path} is not a faiss index: {error}") from None


class ExportingIvfIndex(IvfIndex):
    """The same, for who can afford all of it."""

    kind: ClassVar[str] = "ivf-exporting"

    def export(self) -> Bank:
        index = faiss.clone_index(self._index)
        index.make_direct_map()
        return Bank(index.reconstruct_n(0, index.ntotal), self._ids.copy(), self._labels.copy())


def register(patch: pytest.MonkeyPatch) -> None:
    """Add both to the table, until the patch is undone."""
    for name, implementation in (("ivf", "tests.ivf:IvfIndex"), ("ivf-exporting", "tests.ivf:ExportingIvfIndex")):
        patch.setitem(RETRIEVERS, name, RetrieverKind(implementation, files=("index.ivf",), extra="serve"))
