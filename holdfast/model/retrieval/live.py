"""An index that changes: a base that does not, and beside it what was added, relabelled and deleted since.

Answers equal those of an index built anew from the same rows. The rows that were added are searched exactly, however the base
searches; deleted rows are taken out of what the base finds, of which more is fetched where too little is left.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from holdfast.errors import BundleError, ContractMismatchError
from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.retrieval.base import Bank, Retriever, bank_of, refuse_misfit, vectors_of
from holdfast.model.retrieval.delta import NO_IDS, Delta
from holdfast.model.retrieval.tombstones import Tombstones, is_in, merged, search_without


def _no_ids() -> Ints:
    return NO_IDS


@dataclass(frozen=True)
class Changes:
    """A change of an index. Every part of it may be empty, and an id stands in one part only.

    Attributes:
        added: exemplars whose ids are not in the index; one that was deleted may come back.
        relabelled: int64 [n], ids in the index.
        labels: int64 [n], their new labels.
        deleted: int64 [m], ids in the index.

    """

    added: Bank | None = None
    relabelled: Ints = field(default_factory=_no_ids)
    labels: Ints = field(default_factory=_no_ids)
    deleted: Ints = field(default_factory=_no_ids)


class LiveIndex:
    """A base and the changes since, searchable as one. Immutable: `with_changes` makes the next one.

    A successor shares all embeddings with what it succeeds. It costs what was added, and, where something is relabelled or
    deleted, as many integers as rows were ever added, relabelled or deleted. The base is never copied.

    A row that the base relabels or deletes costs a search little: ids are looked up in a sorted array. Added rows cost one
    product each. `kind` is the base's, and so is what a search may raise.
    """

    def __init__(self, base: Retriever, delta: Delta, deleted: Ints, relabelled: Ints, labels: Ints) -> None:
        """Take parts; `over` and `with_changes` make them. `deleted` and `relabelled` are of the base, ascending."""
        self.base = base
        self._delta, self._deleted, self._relabelled, self._labels = delta, deleted, relabelled, labels

    @classmethod
    def over(cls, base: Retriever) -> Self:
        """A base without changes."""
        return cls(base, Delta.empty(base.dim), NO_IDS, NO_IDS, NO_IDS)

    def __str__(self) -> str:
        return f"{self.base}; {self.added} added, {len(self._deleted)} deleted, {len(self._relabelled)} relabelled since"

    @property
    def kind(self) -> str:
        """The base's."""
        return self.base.kind

    @property
    def size(self) -> int:
        """Number of exemplars M that vote."""
        return self.base.size - len(self._deleted) + self._delta.size

    @property
    def dim(self) -> int:
        """Embedding dimension D."""
        return self.base.dim

    @property
    def added(self) -> int:
        """Exemplars that were added to the base and are not deleted."""
        return self._delta.size

    @property
    def changed(self) -> int:
        """Rows by which this differs from its base: added, deleted and relabelled ones."""
        return self._delta.size + len(self._deleted) + len(self._relabelled)

    def with_changes(self, changes: Changes) -> "LiveIndex":
        """The index after a change; this one stays as it is.

        Args:
            changes: ids to relabel or delete must be in the index, which is not checked for those of the base.

        Raises:
            BundleError: an id is added that is there, or deleted that is not, as far as they are not the base's.
            ContractMismatchError: embeddings of another dimension, or columns of different lengths.

        """
        delta, deleted, relabelled, labels = self._delta, self._deleted, self._relabelled, self._labels
        if len(changes.relabelled):
            rows = delta.rows_of(changes.relabelled)
            ours = rows >= 0
            if ours.any():
                delta = delta.with_labels(rows[ours], changes.labels[ours])
            relabelled, labels = _overlaid(relabelled, labels, changes.relabelled[~ours], changes.labels[~ours])
        if len(changes.deleted):
            rows = delta.rows_of(changes.deleted)
            ours = rows >= 0
            if ours.any():
                delta = delta.without(rows[ours])
            deleted = np.union1d(deleted, changes.deleted[~ours])
            left = ~np.isin(relabelled, deleted)
            relabelled, labels = relabelled[left], labels[left]
        if changes.added is not None and len(changes.added.ids):
            self._refuse_unfit(changes.added)
            delta = delta.with_added(changes.added)
        return LiveIndex(self.base, delta, deleted, relabelled, labels)

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The k nearest exemplars of float32 [N, D] queries; see `Retriever.search`."""
        refuse_misfit(self.dim, queries, k)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        found = self._search_base(queries, k)
        return merged(found, self._delta.search(queries, k), k) if self._delta.size else found

    def _search_base(self, queries: Floats, k: int) -> Neighbours:
        tombstones = Tombstones(lambda ids: is_in(ids, self._deleted), len(self._deleted), self.base.size)
        found = search_without(self.base.search, tombstones, queries, k)
        if not len(self._relabelled):
            return found
        places = np.minimum(np.searchsorted(self._relabelled, found.ids), len(self._relabelled) - 1)
        labels = np.where(self._relabelled[places] == found.ids, self._labels[places], found.labels)
        return replace(found, labels=labels)

    def export(self) -> Bank:
        """Every exemplar, those of the base first. The arrays are copies.

        Raises:
            BundleError: the base cannot hand out its exemplars.

        """
        base, delta = bank_of(self.base), self._delta.bank()
        labels = base.labels
        if len(self._relabelled):
            order = np.argsort(base.ids)
            labels[order[np.searchsorted(base.ids, self._relabelled, sorter=order)]] = self._labels
        kept = ~is_in(base.ids, self._deleted)
        return Bank(
            np.concatenate([base.embeddings[kept], delta.embeddings]),
            np.concatenate([base.ids[kept], delta.ids]),
            np.concatenate([labels[kept], delta.labels]),
        )

    def reconstruct(self, ids: Ints) -> Floats:
        """The embeddings of exemplars, also of deleted ones of the base: float32 [n, D].

        Raises:
            BundleError: an id that there is none of, or the base cannot hand out its exemplars.

        """
        rows = self._delta.rows_of(ids)
        embeddings = np.empty((len(ids), self.dim), dtype=np.float32)
        embeddings[rows >= 0] = self._delta.embeddings.rows[rows[rows >= 0]]
        if (rows < 0).any():
            embeddings[rows < 0] = vectors_of(self.base, ids[rows < 0])
        return embeddings

    def _refuse_unfit(self, bank: Bank) -> None:
        if not len(bank.embeddings) == len(bank.ids) == len(bank.labels) or bank.embeddings.shape[1:] != (self.dim,):
            raise ContractMismatchError(
                f"embeddings {list(bank.embeddings.shape)}, {len(bank.ids)} ids and {len(bank.labels)} labels were to be added;"
                f" the index holds [N, {self.dim}]"
            )
        if len(np.unique(bank.ids)) != len(bank.ids) or self._delta.holds(bank.ids):
            raise BundleError("an exemplar is added under an id that another one has")


def _overlaid(ids: Ints, labels: Ints, more_ids: Ints, more_labels: Ints) -> tuple[Ints, Ints]:
    """Ids, ascending, and their labels, the later label of an id that stands in both."""
    if not len(more_ids):
        return ids, labels
    unique, places = np.unique(np.concatenate([more_ids, ids]), return_index=True)  # the first place of each
    return unique, np.concatenate([more_labels, labels])[places]
