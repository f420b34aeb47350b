"""Exemplars whose embeddings need not be in memory: they are read some rows at a time."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from holdfast.model.answers import Floats, Ints


class Embeddings(Protocol):
    """Embeddings float32 [M, D], to be read some rows at a time. An array is one, and so is a file that is read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, D)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Ints, /) -> Floats:
        """These rows, float32 [n, D]. Ids of rows are int64 [n], each in 0..M - 1."""

    def __setitem__(self, rows: slice | Ints, values: Floats, /) -> None:
        """Replace these rows by float32 [n, D]."""


class ReadableBank(Protocol):
    """The exemplars that an index is built of; `Bank` is one of them."""

    @property
    def embeddings(self) -> Embeddings:
        """float32 [M, D], L2-normalised."""

    @property
    def ids(self) -> Ints:
        """int64 [M], unique, at least 0 and below 2 ** ID_BITS."""

    @property
    def labels(self) -> Ints:
        """int64 [M]."""


@dataclass(frozen=True, slots=True)
class StoredBank:
    """Exemplars of an index to be built, whose embeddings may lie in a file. Attributes as of `ReadableBank`."""

    embeddings: Embeddings
    ids: Ints
    labels: Ints


def rounded(embeddings: Floats) -> Floats:
    """As float16 holds them, float32 [n, D]. Faiss rounds otherwise where a number lies between two of float16."""
    halves: Floats = embeddings.astype(np.float16).astype(np.float32)
    return halves
