"""Exact nearest neighbours among the exemplars."""

from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Floats, Neighbours
from holdfast.model.retrieval.faiss_library import faiss

# Similarities that agree to this many decimals are one rank, ordered by id. A float32 inner product differs in its seventh
# digit between batch sizes (SIMD for few queries, BLAS for many), and must not decide who is the k-th neighbour.
DECIMALS = 5
# Of an exemplar's id: so many are left beside the rank of a neighbour, below 2 ** 13, in 63 bits.
ID_BITS = 50
# Fetched beyond k, so that equals of the k-th neighbour are there to be put in order.
SPARE = 8


Candidates = tuple[Floats, NDArray[np.int64]]
"""Of each query the k nearest exemplars and a few more: float32 [N, >= k] similarities, descending, and their int64 ids."""


class Index(Protocol):
    """What the classifier asks of an index. A backend is one file that has these."""

    @property
    def size(self) -> int:
        """Number of exemplars."""

    @property
    def dim(self) -> int:
        """Embedding dimension."""

    @property
    def half(self) -> bool:
        """Whether embeddings were rounded to float16."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64 [M], in the order of insertion."""

    def vectors(self) -> tuple[Floats, NDArray[np.int64]]:
        """All embeddings float32 [M, D] and their ids int64 [M], in the order of insertion."""

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The k nearest exemplars of each query, in canonical order: `canonical` of their `candidates`."""

    def candidates(self, queries: Floats, k: int) -> Candidates:
        """The k nearest and a few more, before anything is put in order: what a device does of a search."""


class FlatIndex:
    """Exact search by inner product: faiss IndexIDMap2 over IndexFlatIP. Immutable once built.

    With `half`, embeddings are rounded to float16 when the index is built, and lie in half the space on disk. In memory
    they are float32 again, so search costs and answers the same either way; what is attacked is what was rounded.
    """

    def __init__(self, index: Any, *, half: bool = False) -> None:
        self._index, self.half = index, half
        # Since faiss 1.14.2 a flat search takes BLAS only where queries x dim >= 128,000, which leaves common batches on
        # a path 5 to 14 times slower. Four queries are the break-even on this path. The setting is global to the process.
        faiss.cvar.distance_compute_blas_threshold = 4 * int(index.d)
        # The best k are kept in a reservoir, not in a heap, and the database is walked in blocks that stay in cache: 1.7
        # times the price of the matrix product alone becomes 1.4 (python -m bench.knn).
        faiss.cvar.distance_compute_min_k_reservoir = 1
        faiss.cvar.distance_compute_blas_database_bs = 512

    @classmethod
    def build(cls, embeddings: Floats, ids: NDArray[np.int64], *, half: bool = False) -> Self:
        """Index float32 [M, D] L2-normalised embeddings under int64 [M] unique ids, each at least 0.

        With `half` they are rounded to float16, which moves a similarity by less than 5e-4.
        """
        if len(np.unique(ids)) != len(ids) or (len(ids) > 0 and not 0 <= ids.min() <= ids.max() < 1 << ID_BITS):
            raise BundleError(f"exemplar ids must be unique, at least 0 and below 2 ** {ID_BITS}")
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(embeddings.shape[1]))
        kept = embeddings.astype(np.float16) if half else embeddings
        index.add_with_ids(np.ascontiguousarray(kept, dtype=np.float32), ids.astype(np.int64))
        return cls(index, half=half)

    @property
    def size(self) -> int:
        """Number of exemplars M."""
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Embedding dimension D."""
        return int(self._index.d)

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The k nearest exemplars of float32 [N, D] queries, in canonical order. Raises as `candidates`."""
        return canonical(*self.candidates(queries, k), k)

    def candidates(self, queries: Floats, k: int) -> Candidates:
        """The k nearest and a few more, as faiss puts them in order.

        Raises:
            ContractMismatchError: queries of another dimension, or k larger than the index.

        """
        refuse_misfit(self, queries, k)
        similarities, ids = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), min(k + SPARE, self.size))
        return similarities, ids

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64 [M], in the order of insertion."""
        ids: NDArray[np.int64] = faiss.vector_to_array(self._index.id_map).astype(np.int64)
        return ids

    def vectors(self) -> tuple[Floats, NDArray[np.int64]]:
        """All embeddings float32 [M, D] and their ids int64 [M], in the order of insertion."""
        flat: Any = faiss.downcast_index(self._index.index)
        embeddings = faiss.rev_swig_ptr(flat.get_xb(), self.size * self.dim).reshape(self.size, self.dim).copy()
        return embeddings, self.ids

    def save(self, path: Path) -> None:
        """Write the index in faiss's own format."""
        index = self._index
        if self.half:
            embeddings, ids = self.vectors()
            index = faiss.IndexIDMap2(_half_index(self.dim))
            index.add_with_ids(embeddings, ids)
        faiss.write_index(index, str(path))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an index. Check its hash first: faiss's reader is not made for hostile files.

        Raises:
            BundleError: not a faiss file, or not the kind of index that `build` makes.

        """
        try:
            index: Any = faiss.read_index(str(path))
        except RuntimeError as error:
            raise BundleError(f"{path} is not a faiss index: {error}; rebuild it with python -m index_build") from None
        inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap2) else None
        if isinstance(inner, faiss.IndexFlatIP):
            return cls(index)
        if isinstance(inner, faiss.IndexScalarQuantizer) and inner.sq.qtype == faiss.ScalarQuantizer.QT_fp16:
            ids = faiss.vector_to_array(index.id_map).astype(np.int64)
            return cls.build(inner.reconstruct_n(0, inner.ntotal), ids, half=True)
        raise BundleError(
            f"{path} is not an IndexIDMap2 over IndexFlatIP or over float16; rebuild it with python -m index_build"
        )


def _half_index(dim: int) -> Any:
    return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)


def refuse_misfit(index: Index, queries: Floats, k: int) -> None:
    """Refuse what `index` cannot be asked.

    Raises:
        ContractMismatchError: queries of another dimension, or k larger than the index.

    """
    if queries.ndim != 2 or queries.shape[1] != index.dim:
        raise ContractMismatchError(f"queries have shape {list(queries.shape)}; the index holds [N, {index.dim}]")
    if not 1 <= k <= index.size:
        raise ContractMismatchError(f"k = {k} neighbours asked of an index of {index.size} exemplars")


def canonical(similarities: Floats, ids: NDArray[np.int64], k: int) -> Neighbours:
    """Order by rounded similarity, then by id, and cut to k.

    Faiss returns descending similarities already; only rows with equal neighbours after rounding need sorting.
    """
    rounded = np.round(similarities, DECIMALS)
    tied = np.diff(rounded, axis=1) == 0
    rows = np.flatnonzero((tied & (np.diff(ids, axis=1) < 0)).any(axis=1))
    if len(rows):
        # Equals stand together and share a number. Number and id are one integer, which sorts faster than two keys do.
        number = np.zeros((len(rows), ids.shape[1]), dtype=np.int64)
        np.cumsum(~tied[rows], axis=1, out=number[:, 1:])
        number <<= ID_BITS
        number |= ids[rows]
        number.sort(axis=1)
        ids[rows] = number & ((1 << ID_BITS) - 1)
    return Neighbours(rounded[:, :k], ids[:, :k])
