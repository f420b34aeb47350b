"""Bounded tables of the latest images, each with those that are alike: finds where a new image belongs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats
from holdfast.model.images.sketches import CELLS, RADIUS, Sketches
from holdfast.server.monitor.detectors.alike.cluster import Changes, Cluster, Normal, Query

KEPT = 3
"""Alike images after which a cluster is kept longer than others, as long as such clusters are not more than half."""

EMPTY = 1e12
"""The squared length of the sketch of a place that has no image: far from all."""

ROUNDING = 1e-4
"""By how much similarities may differ that are computed one by one and all at once, and more."""


class Visit(NamedTuple):
    """An image that is no new one: its row, and its cluster; None where it is identical, or alike by its embedding alone."""

    row: int
    cluster: Cluster | None


@dataclass(frozen=True, slots=True, eq=False)
class AlikeCandidates:
    """N images that are to be put into tables.

    Attributes:
        sketches: float32 [N, CELLS squared + 1], the last column ones.
        keys: float32 [N, CELLS squared + 1], whose product with a sketch is the squared distance, less the
            sketch's own square.
        limits: float32 [N], what that may be for an image that is alike.
        embeddings: float32 [N, D].
        queries: N, as they are kept.
        changes: what is known of how each differs from others.

    """

    sketches: Sketches
    keys: Sketches
    limits: NDArray[np.float32]
    embeddings: Floats
    queries: Sequence[Query]
    changes: Sequence[Changes]

    @classmethod
    def of(cls, sketches: Sketches, embeddings: Floats, queries: Sequence[Query], changes: Sequence[Changes]) -> Self:
        """Images with these sketches, float32 [N, CELLS squared]."""
        squares = np.einsum("nd,nd->n", sketches, sketches)
        one = np.ones((len(sketches), 1), np.float32)
        keys = np.concatenate((-2 * sketches, squares[:, None]), axis=1)
        limits = np.float32(RADIUS * RADIUS * CELLS * CELLS) - squares
        return cls(np.concatenate((sketches, one), axis=1), keys, limits, embeddings, queries, changes)

    def take(self, rows: NDArray[np.intp]) -> "AlikeCandidates":
        """Some of them, by their numbers."""
        queries, changes = [self.queries[row] for row in rows.tolist()], [self.changes[row] for row in rows.tolist()]
        return AlikeCandidates(self.sketches[rows], self.keys[rows], self.limits[rows], self.embeddings[rows], queries, changes)


class ClusterTable:
    """A bounded number of clusters; those without a new image for long make room.

    Args:
        capacity: clusters.
        dim: length of an embedding, where images that are alike by it alone are no new ones either: a film that has moved on.

    Attributes:
        keys: float32 [capacity, CELLS squared + 1], of the latest images.
        embeddings: float32 [capacity, dim], theirs, likewise.

    """

    def __init__(self, capacity: int, dim: int = 0) -> None:
        self.keys = np.zeros((capacity, CELLS * CELLS + 1), np.float32)
        self.keys[:, -1] = EMPTY
        self.embeddings = np.zeros((capacity, dim), np.float32)
        self._used = np.zeros(capacity, np.int64)  # when it had its last image, in images of this table
        self._kept = np.zeros(capacity, np.bool_)
        self._held: list[Query | Cluster | None] = [None] * capacity  # nearly all images stay alone: they make no cluster
        self._images, self._many = 0, 0

    def visit(self, images: AlikeCandidates, rows: range, normal: Normal) -> Iterator[Visit]:
        """Put some images where they belong, in their order. Yields those that are no new ones."""
        # Nearly all are far from all others. That is found for all of them at once, and they are put in at once, too.
        distances = between = None
        if self.embeddings.shape[1]:
            suspects = rows.start + self._may_be_known(images.embeddings[rows.start : rows.stop], normal.alike)
        else:
            distances, between = self._distances(images, rows)
            limits = images.limits[rows.start : rows.stop]
            near = (distances.min(axis=1) <= limits) | (between.min(axis=1) <= limits)
            suspects = rows.start + np.flatnonzero(near)
        changed: dict[int, int] = {}  # by place, the row that it has now
        done = rows.start
        for row in suspects.tolist():
            self.put(images, range(done, row), changed)
            done = row + 1
            if distances is None or between is None:
                distances, between = self._distances(images, rows)
            now = distances[row - rows.start]
            now[list(changed)] = between[row - rows.start, [other - rows.start for other in changed.values()]]
            place, query, found = int(now.argmin()), images.queries[row], None
            if now[place] <= images.limits[row]:
                found = self._cluster_of(place, query, normal.alike)
            if found is None:
                is_known = self._is_known(query, normal.alike)
                self.put(images, range(row, row + 1), changed)
                if is_known:
                    yield Visit(row, None)
                continue
            is_variant = found.add(query, normal, images.changes[row])
            if is_variant and found.alike == KEPT:
                self._kept[place], self._many = True, self._many + 1
            self._put_at(np.array([place]), images, range(row, row + 1))
            changed[place] = row
            yield Visit(row, found if is_variant else None)
        self.put(images, range(done, rows.stop), changed)

    def put(self, images: AlikeCandidates, rows: range, changed: dict[int, int] | None = None) -> None:
        """Put images that are like none, in their order; `changed` gets the row of each place."""
        while len(rows) and self._many > len(self._held) // 2:  # too many are kept: the oldest of these makes room
            place = np.where(self._kept, self._used, self._images + 1).argmin()
            self._kept[place], self._many = False, self._many - 1
            self._hold(np.array([place]), images, rows[:1], changed)
            rows = rows[1:]
        if len(rows):
            places = self._oldest(len(rows))
            gone = len(rows) - len(places)  # the first ones would have made room for the last already
            self._images += gone
            self._hold(places, images, rows[gone:], changed)

    def _hold(self, places: NDArray[np.intp], images: AlikeCandidates, rows: range, changed: dict[int, int] | None) -> None:
        self._put_at(places, images, rows)
        for place, row in zip(places.tolist(), rows, strict=True):
            self._held[place] = images.queries[row]
            if changed is not None:
                changed[place] = row

    def _put_at(self, places: NDArray[np.intp], images: AlikeCandidates, rows: range) -> None:
        self._used[places] = np.arange(self._images + 1, self._images + len(rows) + 1)
        self._images += len(rows)
        self.keys[places] = images.keys[rows.start : rows.stop]
        if self.embeddings.shape[1]:
            self.embeddings[places] = images.embeddings[rows.start : rows.stop]

    def _oldest(self, count: int) -> NDArray[np.intp]:
        """At most so many places that are not kept, those first that have been without a new image for longest."""
        if count == 1 and not self._many:
            return np.array([self._used.argmin()])
        places = np.flatnonzero(~self._kept)
        return places[np.argsort(self._used[places], kind="stable")[:count]]

    def _cluster_of(self, place: int, query: Query, alike: float) -> Cluster | None:
        """The cluster there, if the image is alike by its embedding too."""
        held = self._held[place]
        latest = held.latest if isinstance(held, Cluster) else held
        if latest is None or np.dot(query.embedding, latest.embedding) < alike:
            return None
        if not isinstance(held, Cluster):
            held = self._held[place] = Cluster.begin(latest)
        return held

    def _distances(self, images: AlikeCandidates, rows: range) -> tuple[Sketches, Sketches]:
        """Squared distances less an image's own square: to the images here, [n, capacity], and to the others, [n, n]."""
        some = images.sketches[rows.start : rows.stop]
        between = some @ images.keys[rows.start : rows.stop].T
        np.fill_diagonal(between, np.inf)
        return some @ self.keys.T, between

    def _may_be_known(self, embeddings: Floats, alike: float) -> NDArray[np.intp]:
        """The numbers of those to which an embedding here, or of the others, may be alike; a variant is, too."""
        similarities = (embeddings @ self.embeddings.T).max(axis=1)
        if len(embeddings) > 1:
            others = embeddings @ embeddings.T
            np.fill_diagonal(others, -1)
            np.maximum(similarities, others.max(axis=1), out=similarities)
        return np.flatnonzero(similarities >= alike - ROUNDING)

    def _is_known(self, query: Query, alike: float) -> bool:
        return bool(self.embeddings.shape[1]) and float((self.embeddings @ query.embedding).max()) >= alike
