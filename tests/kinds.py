"""Kinds of index for tests that hold for all of them: the product's own, and one that hands nothing out."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from holdfast.model.answers import Neighbours
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.retrieval.table import RETRIEVERS, RetrieverKind

KINDS = ("flat", "ivf", "sealed")


class SealedIndex:
    """A flat index that exports nothing and keeps no prototypes, as one on another machine may."""

    kind: ClassVar[str] = "sealed"

    def __init__(self, index: FlatIndex) -> None:
        self._index = index

    def __str__(self) -> str:
        return "sealed"

    @property
    def size(self) -> int:
        return self._index.size

    @property
    def dim(self) -> int:
        return self._index.dim

    @property
    def parameters(self) -> dict[str, int]:
        return {}

    def search(self, queries: np.ndarray, k: int) -> Neighbours:
        return self._index.search(queries, k)

    @classmethod
    def build(cls, bank: Bank) -> "SealedIndex":
        return cls(FlatIndex.build(bank))

    def writers(self) -> tuple[Callable[[Path], None]]:
        return (self._index.save,)

    @classmethod
    def load(cls, path: Path, ids: np.ndarray, labels: np.ndarray) -> "SealedIndex":
        return cls(FlatIndex.load(path, ids, labels))


def register(patch: pytest.MonkeyPatch) -> None:
    """Add it to the table, until the patch is undone."""
    patch.setitem(RETRIEVERS, "sealed", RetrieverKind("tests.kinds:SealedIndex", files=("index.sealed",), extra="serve"))
