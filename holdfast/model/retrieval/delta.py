"""Exemplars that were added to an index after it was built: a bank that grows, searched exactly."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from holdfast.errors import BundleError
from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.faiss_library import faiss
from holdfast.model.retrieval.base import Bank, padded
from holdfast.model.retrieval.growing import GrowingArray
from holdfast.model.retrieval.tombstones import Tombstones, search_without

NO_IDS: Ints = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Delta:
    """Exemplars that were added. Successors share what they have in common.

    Attributes:
        embeddings: float32 [n, D].
        ids: int64 [n].
        labels: int64 [n], as they stand.
        alive: bool [n].
        dead: how many are not alive.
        places: id -> row, of all that share the buffers; rows of n and beyond are of successors.

    """

    embeddings: GrowingArray[np.float32]
    ids: GrowingArray[np.int64]
    labels: GrowingArray[np.int64]
    alive: GrowingArray[np.bool_]
    dead: int
    places: dict[int, int]

    @classmethod
    def empty(cls, dim: int) -> Self:
        """No exemplars of D dimensions."""
        return cls(
            GrowingArray.of(np.empty((0, dim), dtype=np.float32)),
            GrowingArray.of(NO_IDS),
            GrowingArray.of(NO_IDS),
            GrowingArray.of(np.empty(0, dtype=np.bool_)),
            0,
            {},
        )

    @property
    def size(self) -> int:
        """How many are alive."""
        return len(self.ids) - self.dead

    def rows_of(self, ids: Ints) -> Ints:
        """The row of each id, or -1 for one that is not of the delta: int64 [n]."""
        found = [self.places.get(each, -1) for each in ids.tolist()]
        return np.array([row if row < len(self.ids) else -1 for row in found], dtype=np.int64)

    def with_added(self, bank: Bank) -> "Delta":
        """These and more after them; of these, none that is alive has one of their ids."""
        first = len(self.ids)
        ids = self.ids.extended(bank.ids)
        # What shares no buffer with this one has places of its own: rows would mean something else there.
        places = self.places if ids.shares(self.ids) else {each: row for each, row in self.places.items() if row < first}
        places.update(zip(bank.ids.tolist(), range(first, len(ids)), strict=True))
        return replace(
            self,
            embeddings=self.embeddings.extended(np.ascontiguousarray(bank.embeddings, dtype=np.float32)),
            ids=ids,
            labels=self.labels.extended(bank.labels),
            alive=self.alive.extended(np.ones(len(bank.ids), dtype=np.bool_)),
            places=places,
        )

    def holds(self, ids: Ints) -> bool:
        """Whether any of these is alive."""
        rows = self.rows_of(ids)
        return bool(self.alive.rows[rows[rows >= 0]].any())

    def with_labels(self, rows: Ints, labels: Ints) -> "Delta":
        """Some rows under other labels."""
        changed = self.labels.rows.copy()
        changed[rows] = labels
        return replace(self, labels=GrowingArray.of(changed))

    def without(self, rows: Ints) -> "Delta":
        """All but some rows that are alive. Raises BundleError where one is not."""
        if not self.alive.rows[rows].all():
            raise BundleError("an exemplar is deleted twice")
        alive = self.alive.rows.copy()
        alive[rows] = False
        return replace(self, alive=GrowingArray.of(alive), dead=self.dead + len(rows))

    def bank(self) -> Bank:
        """Those that are alive. The arrays are copies."""
        alive = self.alive.rows
        return Bank(self.embeddings.rows[alive], self.ids.rows[alive], self.labels.rows[alive])

    def search(self, queries: Floats, k: int) -> Neighbours:
        """The k nearest that are alive, or all of them where there are fewer."""

        def search_all(queries: Floats, k: int) -> Neighbours:
            similarities, rows = faiss.knn(queries, self.embeddings.rows, min(k, len(self.ids)), faiss.METRIC_INNER_PRODUCT)
            return padded(Neighbours(rows, rows, similarities), k)

        alive = self.alive.rows
        tombstones = Tombstones(lambda rows: ~alive[rows], self.dead, len(self.ids))
        found = search_without(search_all, tombstones, queries, min(k, self.size))
        rows = found.ids
        missing = rows < 0
        return Neighbours(
            np.where(missing, -1, self.ids.rows[rows]), np.where(missing, -1, self.labels.rows[rows]), found.similarities
        )
