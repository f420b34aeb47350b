"""What the classifier asks of an index, whatever its kind, and the canonical order that is made of every answer.

A kind of index is one file that keeps `Retriever`, and one line of `holdfast.model.retrieval.table.RETRIEVERS`.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.prototypes import ClassPrototypes
from holdfast.model.retrieval.embeddings import ReadableBank

Scalar = TypeVar("Scalar", bound=np.generic)

DECIMALS = 5
"""Similarities that agree to this many decimals are one rank, ordered by id. A float32 inner product differs in its seventh
digit between batch sizes (SIMD for few queries, BLAS for many), and must not decide who is the k-th neighbour."""

SPARE = 8
"""Neighbours fetched beyond k, so that equals of the k-th are there to be put in order."""

ID_BITS = 50
"""Of an exemplar's id: it is at least 0 and below 2 ** ID_BITS."""


@dataclass(frozen=True, slots=True)
class Bank:
    """All exemplars of an index, in the order of insertion.

    Attributes:
        embeddings: float32 [M, D], L2-normalised.
        ids: int64 [M], unique, at least 0 and below 2 ** ID_BITS.
        labels: int64 [M].

    """

    embeddings: Floats
    ids: Ints
    labels: Ints


@runtime_checkable
class Retriever(Protocol):
    """The exemplars, searchable: an exact index, an approximate one, or one on another machine.

    `str()` of it is one line for a person. Threads may share one: an implementation that takes one caller at a time locks.
    """

    @property
    def kind(self) -> str:
        """The name in the manifest and in the table of retrievers."""

    @property
    def size(self) -> int:
        """Number of exemplars M."""

    @property
    def dim(self) -> int:
        """Embedding dimension D."""

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The k nearest exemplars of each query by inner product, the most similar first, equals in any order.

        Fewer may be found: the index holds fewer than k, or an approximate one looked at fewer. The row is then filled up
        at its end with id -1, label -1 and similarity -inf (see `padded`). No neighbour stands in a row twice.

        Args:
            queries: float32 [N, D], L2-normalised, left as they are.
            k: neighbours wanted, at least 1.

        Raises:
            ContractMismatchError: queries of another dimension, or k below 1.
            HoldfastError: the device or the service that holds the index cannot answer.

        """


@runtime_checkable
class Exportable(Protocol):
    """A retriever that can hand out all that it holds."""

    def export(self) -> Bank:
        """Every exemplar. The arrays are copies: M x D x 4 bytes."""


@runtime_checkable
class Rounding(Protocol):
    """A retriever whose embeddings may have been rounded to float16 when it was built."""

    @property
    def half(self) -> bool:
        """Whether they were."""


@runtime_checkable
class Summarised(Protocol):
    """A retriever that keeps prototypes of what it holds, so that soft margins and probes need no export."""

    @property
    def prototypes(self) -> ClassPrototypes:
        """They stand for all exemplars."""


@runtime_checkable
class Reconstructing(Protocol):
    """A retriever that can hand out some of its exemplars without all of them."""

    def reconstruct(self, ids: Ints) -> Floats:
        """The embeddings of exemplars float32 [n, D], by their ids int64 [n]. Raises BundleError for an id of none."""


def vectors_of(retriever: Retriever, ids: Ints) -> Floats:
    """The embeddings of some exemplars: float32 [n, D].

    Raises:
        BundleError: an id of no exemplar, or the retriever cannot hand them out.

    """
    if isinstance(retriever, Reconstructing):
        return retriever.reconstruct(ids)
    bank = bank_of(retriever)
    embeddings: Floats = bank.embeddings[places_of(ids, bank.ids)]
    return embeddings


def places_of(ids: Ints, all_ids: Ints) -> Ints:
    """Where ids stand among unique ones: int64 [n]. Raises BundleError for one that does not."""
    order = np.argsort(all_ids, kind="stable")
    places = order[np.minimum(np.searchsorted(all_ids, ids, sorter=order), len(all_ids) - 1)] if len(all_ids) else ids - ids
    if len(ids) and (not len(all_ids) or not np.array_equal(all_ids[places], ids)):
        raise BundleError("an exemplar id is not in the index")
    return places.astype(np.int64)


def bank_of(retriever: Retriever) -> Bank:
    """All exemplars of a retriever.

    Raises:
        BundleError: it cannot hand them out.

    """
    if not isinstance(retriever, Exportable):
        raise BundleError(
            f"this needs the embeddings of all exemplars, and an index of kind {retriever.kind!r} cannot hand them out:"
            " build the index again with holdfast index BUNDLE --index flat"
        )
    return retriever.export()


def check_bank(bank: ReadableBank) -> None:
    """Refuse a bank that cannot be indexed.

    Raises:
        BundleError: ids that are not unique or out of range.
        ContractMismatchError: another number of ids or labels than of embeddings.

    """
    ids = bank.ids
    if not len(bank.embeddings) == len(ids) == len(bank.labels):
        raise ContractMismatchError(f"{len(bank.embeddings)} embeddings came with {len(ids)} ids and {len(bank.labels)} labels")
    if len(np.unique(ids)) != len(ids) or (len(ids) > 0 and not 0 <= ids.min() <= ids.max() < 1 << ID_BITS):
        raise BundleError(f"exemplar ids must be unique, at least 0 and below 2 ** {ID_BITS}")


def refuse_misfit(dim: int, queries: Floats, k: int) -> None:
    """Refuse what an index of `dim` numbers an exemplar cannot be asked.

    Raises:
        ContractMismatchError: queries of another dimension, or k below 1.

    """
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ContractMismatchError(f"queries have shape {list(queries.shape)}; the index holds [N, {dim}]")
    if k < 1:
        raise ContractMismatchError(f"k = {k} neighbours asked of an index: ask for at least 1")


def padded(neighbours: Neighbours, k: int) -> Neighbours:
    """Fill rows of fewer than k neighbours up to k with id -1, label -1 and similarity -inf."""
    missing = k - neighbours.ids.shape[1]
    if missing <= 0:
        return neighbours
    return Neighbours(
        _widened(neighbours.ids, missing, -1),
        _widened(neighbours.labels, missing, -1),
        _widened(neighbours.similarities, missing, -np.inf),
    )


def _widened(rows: NDArray[Scalar], columns: int, value: float) -> NDArray[Scalar]:
    return np.concatenate([rows, np.full((len(rows), columns), value, dtype=rows.dtype)], axis=1)


def nearest(retriever: Retriever, queries: Floats, k: int) -> Neighbours:
    """The k nearest exemplars of each query in canonical order. Arguments and errors are those of `Retriever.search`."""
    return canonical(retriever.search(queries, k + SPARE), k)


def canonical(neighbours: Neighbours, k: int) -> Neighbours:
    """Order by similarity rounded to DECIMALS, then by id, and cut to k. The argument is left as it is.

    Similarities descend already, so only neighbours that are equal after rounding change places.
    """
    ids, labels, rounded = neighbours.ids, neighbours.labels, np.round(neighbours.similarities, DECIMALS)
    tied = rounded[:, 1:] == rounded[:, :-1]
    if (tied & (ids[:, 1:] < ids[:, :-1])).any():
        follows = np.zeros(ids.shape, dtype=np.bool_)  # is equal to the neighbour before it
        follows[:, 1:] = tied
        equals = follows.copy()
        equals[:, :-1] |= tied
        places = np.flatnonzero(equals)
        group: Ints = np.cumsum(~follows.ravel()[places], dtype=np.int64)
        ids, labels = ids.copy(), labels.copy()
        ids.ravel()[places], labels.ravel()[places] = _by_group_and_id(
            group, neighbours.ids.ravel()[places], neighbours.labels.ravel()[places]
        )
    return Neighbours(ids[:, :k], labels[:, :k], rounded[:, :k])


def _by_group_and_id(group: Ints, ids: Ints, labels: Ints) -> tuple[Ints, Ints]:
    """Ids and labels sorted by (group, id). All arrays int64 [n]; ids and labels are at least -1, groups at least 0."""
    if not len(ids):
        return ids, labels
    label_bits, id_bits = (int(values.max() + 1).bit_length() for values in (labels, ids))
    if int(group[-1]).bit_length() + id_bits + label_bits > 63:
        order = np.lexsort((ids, group))
        return ids[order], labels[order]
    # Packed into one integer, which sorts several times faster than an order of two keys is found.
    packed = (((group << id_bits) | (ids + 1)) << label_bits) | (labels + 1)
    packed.sort()
    sorted_labels = (packed & ((1 << label_bits) - 1)) - 1
    return ((packed >> label_bits) & ((1 << id_bits) - 1)) - 1, sorted_labels
