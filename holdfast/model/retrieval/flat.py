"""Exact nearest neighbours among the exemplars."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.faiss_library import faiss, read_index
from holdfast.model.retrieval.base import Bank, check_bank, padded, places_of, refuse_misfit
from holdfast.model.retrieval.embeddings import Embeddings, ReadableBank
from holdfast.model.retrieval.exact.blockwise import BlockwiseSearch
from holdfast.model.retrieval.exact.sample import RowSample
from holdfast.model.retrieval.exact.screened import ScreenedSearch

AGAIN = "rebuild it with holdfast index"
BLOCK = 65_536  # rows that are added or written at once
OUTER_BYTES = 37  # of what faiss writes of an IndexIDMap2 before the index below it


class FlatIndex:
    """Exact search by inner product: faiss IndexFlatIP, with ids and labels beside it. Immutable once built.

    The file is faiss's IndexIDMap2 over IndexFlatIP; labels are in the exemplars' table. With `half`, embeddings are rounded
    to float16 when the index is built, and take half the space on disk. In memory they are float32 again, so search costs and
    answers the same either way; what is attacked is what was rounded.
    """

    kind: ClassVar[str] = "flat"

    def __init__(
        self, rows: Any, ids: Ints, labels: Ints, *, half: bool = False, owner: object = None, first_pass: bool = True
    ) -> None:
        """Take an IndexFlatIP and what its rows are; `owner` is what its memory goes with, where that is not itself.

        With `first_pass` a fourth more of memory makes searches of few queries cheap.
        """
        self.half = half
        self._rows, self._ids, self._labels, self._owner = rows, ids, labels, owner
        # Ids that are 0..M-1 in order, as the index builder writes them, are their own row numbers.
        self._ids_are_rows = np.array_equal(ids, np.arange(len(ids)))
        prepare_exact_search(self.dim)
        sample = RowSample(self._embeddings())
        self._screened = ScreenedSearch(rows, self._embeddings(), sample) if first_pass else None
        self._blockwise = BlockwiseSearch(self._embeddings(), sample)

    @classmethod
    def build(cls, bank: ReadableBank, *, half: bool = False, first_pass: bool = True) -> Self:
        """Index a bank. With `half` its embeddings are rounded to float16, which moves a similarity by less than 5e-4.

        `first_pass` is for who will search for few queries at a time.

        Raises:
            BundleError: ids that are not unique or out of range.
            ContractMismatchError: another number of ids or labels than of embeddings.

        """
        check_bank(bank)
        embeddings, ids, labels = bank.embeddings, bank.ids.astype(np.int64), bank.labels.astype(np.int64)
        rows = faiss.IndexFlatIP(embeddings.shape[1])
        for start in range(0, len(embeddings), BLOCK):  # so that one that is mapped from a file is in memory once, not twice
            block = embeddings[start : start + BLOCK]
            rows.add(np.ascontiguousarray(block.astype(np.float16) if half else block, dtype=np.float32))
        return cls(rows, ids, labels, half=half, first_pass=first_pass)

    def __str__(self) -> str:
        return f"flat, {'float16' if self.half else 'float32'} on disk"

    @property
    def size(self) -> int:
        """Number of exemplars M."""
        return int(self._rows.ntotal)

    @property
    def dim(self) -> int:
        """Embedding dimension D."""
        return int(self._rows.d)

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The k nearest exemplars of float32 [N, D] queries; see `Retriever.search`."""
        refuse_misfit(self.dim, queries, k)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        similarities, rows = self._nearest_rows(queries, min(k, self.size))
        return padded(self.named(rows, similarities), k)

    def _nearest_rows(self, queries: Floats, k: int) -> tuple[Floats, Ints]:
        cheaper: ScreenedSearch | BlockwiseSearch
        if self._screened is not None and self._screened.worth(len(queries), k):
            cheaper = self._screened
        elif self._blockwise.worth(len(queries), k) and faiss.omp_get_max_threads() == 1:
            cheaper = self._blockwise  # with several threads faiss divides the queries among them
        else:
            similarities, rows = self._rows.search(queries, k)
            return similarities, rows
        similarities, rows, answered = cheaper.search(queries, k)
        if not answered.all():
            similarities[~answered], rows[~answered] = self._rows.search(queries[~answered], k)
        return similarities, rows

    def drop_first_pass(self) -> None:
        """Give its memory back: something else searches."""
        self._screened = None

    def named(self, rows: Ints, similarities: Floats) -> Neighbours:
        """Neighbours of row numbers int64 [N, k], -1 where there is none, and their similarities float32 [N, k]."""
        if rows.size and rows.min() < 0:  # of a query that is not a number nothing is near
            missing = rows < 0
            ids, labels = np.where(missing, -1, self._ids[rows]), np.where(missing, -1, self._labels[rows])
            return Neighbours(ids, labels, np.where(missing, np.float32(-np.inf), similarities))
        return Neighbours(rows if self._ids_are_rows else self._ids[rows], self._labels[rows], similarities)

    def export(self) -> Bank:
        """Every exemplar, in the order of insertion. The arrays are copies."""
        return Bank(self._embeddings().copy(), self._ids.copy(), self._labels.copy())

    def reconstruct(self, ids: Ints) -> Floats:
        """The embeddings of exemplars float32 [n, D], by their ids int64 [n]. Raises BundleError for an id of none."""
        embeddings: Floats = self._embeddings()[places_of(ids, self._ids)]
        return embeddings

    def blocks(self) -> Iterator[Floats]:
        """All embeddings, without a copy; see holdfast.model.retrieval.unit_length."""
        yield self._embeddings()

    def _embeddings(self) -> Floats:
        """float32 [M, D] in the index's own memory: to read, while the index lives."""
        embeddings: Floats = faiss.rev_swig_ptr(self._rows.get_xb(), self.size * self.dim).reshape(self.size, self.dim)
        return embeddings

    @property
    def parameters(self) -> dict[str, int]:
        """None."""
        return {}

    def writers(self) -> tuple[Callable[[Path], None]]:
        """Of its one file."""
        return (self.save,)

    def save(self, path: Path) -> None:
        """Write the index in faiss's own format. Labels are not in it."""
        write_flat(path, self._embeddings(), self._ids, half=self.half)

    @classmethod
    def load(cls, path: Path, ids: Ints, labels: Ints) -> Self:
        """Read an index. Check its hash first: faiss's reader is not made for hostile files.

        Args:
            path: what `save` wrote.
            ids: int64 [M], what the exemplars' table says that it holds, in this order.
            labels: int64 [M], theirs.

        Raises:
            BundleError: not a faiss file, or not the kind of index that `save` writes.
            ContractMismatchError: it holds other ids.

        """
        index = read_index(path)
        inner: Any = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap2) else None
        half = isinstance(inner, faiss.IndexScalarQuantizer) and inner.sq.qtype == faiss.ScalarQuantizer.QT_fp16
        if not half and not isinstance(inner, faiss.IndexFlatIP):
            raise BundleError(f"{path} is not an IndexIDMap2 over IndexFlatIP or over float16; {AGAIN}")
        if inner.ntotal != len(ids) or not np.array_equal(faiss.vector_to_array(index.id_map), ids):
            raise ContractMismatchError(f"{path} and the exemplars' table do not hold the same ids in the same order; {AGAIN}")
        if half:
            return cls.build(Bank(inner.reconstruct_n(0, inner.ntotal), ids, labels), half=True)
        return cls(inner, ids, labels, owner=index)


def prepare_exact_search(dim: int) -> None:
    """Have faiss search exactly in its fast way, for embeddings of `dim` numbers. The settings are global to the process."""
    # Since faiss 1.14.2 a flat search takes BLAS only where queries x dim >= 128,000, which leaves common batches on
    # a path 5 to 14 times slower. Four queries are the break-even on this path.
    faiss.cvar.distance_compute_blas_threshold = 4 * dim
    # The best k are kept in a reservoir, not in a heap, and the database is walked in blocks that stay in cache: 1.7
    # times the price of the matrix product alone becomes 1.4 (python -m bench.knn).
    faiss.cvar.distance_compute_min_k_reservoir = 1
    faiss.cvar.distance_compute_blas_database_bs = 512


def write_flat(path: Path, embeddings: Embeddings, ids: Ints, *, half: bool) -> None:
    """Write the file of a flat index, byte for byte as faiss does, with a block of it in memory.

    Args:
        path: of the file.
        embeddings: float32 [M, D].
        ids: int64 [M].
        half: keep them as float16.

    """
    rows, dim = embeddings.shape
    inner = (
        faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        if half
        else faiss.IndexFlatIP(dim)
    )
    # An empty index ends with two lengths, 0: of the embeddings, in bytes of float16 or in numbers of float32, and of the ids.
    head = bytearray(faiss.serialize_index(faiss.IndexIDMap2(inner)).tobytes()[:-16])
    for start in (0, OUTER_BYTES):  # the number of rows follows a name of 4 bytes and the dimension
        struct.pack_into("<q", head, start + 8, rows)
    with path.open("wb") as file:
        file.write(head + struct.pack("<q", rows * dim * (2 if half else 1)))
        for start in range(0, rows, BLOCK):
            block = np.ascontiguousarray(embeddings[start : start + BLOCK], dtype="<f2" if half else "<f4")
            file.write(block.data)
        file.write(struct.pack("<q", rows))
        file.write(np.ascontiguousarray(ids, dtype="<i8").data)
