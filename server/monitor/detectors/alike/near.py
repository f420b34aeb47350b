"""Finds, for each image that is asked, an earlier one that it is a variant of: of the same caller, and of all.

Two images are alike where their sketches differ by no more than noise or a step of an attack does, and their embeddings by less
than those of different images. Neither alone would do: a model finds two pictures of one car alike, and a sketch two skies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats
from holdfast.model.images.sketches import CELLS, RADIUS, Sketcher, Sketches
from holdfast.server.monitor.detectors.alike.cluster import Changes, Cluster, Normal, Query
from holdfast.server.monitor.detectors.callers import NOBODY
from holdfast.server.monitor.detectors.reference import lead_of_vote
from holdfast.server.monitor.detectors.traffic import ObservedTraffic

EMPTY = 1e6
"""Where a place has no image: a sketch that is far from all."""

ROUNDING = 1e-4
"""By how much similarities may differ that are computed one by one and all at once, and more."""

NO_OTHERS = np.full((1, 1), np.inf, np.float32)
"""Distances of one image to the others of a batch in which it is alone."""

KEPT = 3
"""Alike images after which a cluster is kept longer than others, as long as such clusters are not more than half."""


class Variant(NamedTuple):
    """An image that is a variant of another: the caller's number, or ALL (-1) where images of all callers were compared."""

    caller: int
    cluster: Cluster


class _Visit(NamedTuple):
    """Where the image of a row belongs; `variant` where it is one of an earlier image, not identical and compared with it."""

    row: int
    cluster: Cluster
    is_new: bool
    is_variant: bool


@dataclass(frozen=True, slots=True, eq=False)
class AlikeCandidates:
    """N images that are to be put into tables.

    Attributes:
        sketches: float32 [N, CELLS squared].
        squares: float32 [N], of the lengths of the sketches.
        embeddings: float32 [N, D].
        queries: N, as they are kept.
        changes: what is known of how each differs from others.

    """

    sketches: Sketches
    squares: NDArray[np.float32]
    embeddings: Floats
    queries: Sequence[Query]
    changes: Sequence[Changes]

    def take(self, rows: Sequence[int]) -> "AlikeCandidates":
        """Some of them, by their numbers."""
        if len(rows) == len(self.queries):
            return self
        chosen = list(rows)
        return AlikeCandidates(
            self.sketches[chosen],
            self.squares[chosen],
            self.embeddings[chosen],
            [self.queries[row] for row in rows],
            [self.changes[row] for row in rows],
        )


class ClusterTable:
    """A bounded number of clusters; those without a new image for long make room.

    Args:
        capacity: clusters.
        dim: length of an embedding, where images that are alike by it alone are no new ones either: a film that has moved on.

    """

    def __init__(self, capacity: int, dim: int = 0) -> None:
        self._embeddings = np.zeros((capacity, dim), np.float32) if dim else None
        self._sketches = np.full((capacity, CELLS * CELLS), EMPTY, np.float32)
        self._squares = np.full(capacity, EMPTY * EMPTY * CELLS * CELLS, np.float32)
        self._used = np.zeros(capacity, np.int64)  # when it had its last image, in images of this table
        self._kept = np.zeros(capacity, np.bool_)
        self._clusters: list[Cluster | None] = [None] * capacity
        self._images, self._many = 0, 0

    def visit(self, images: AlikeCandidates, normal: Normal) -> Iterator[_Visit]:
        """Put n images where they belong, in their order."""
        # Nearly all are far from all others. That is found for all of them at once, and for those no more is done.
        limits = RADIUS * RADIUS * CELLS * CELLS - images.squares
        distances, between = self._distances(images)
        may_be_near = (distances.min(axis=1) <= limits) | (between.min(axis=1) <= limits)
        may_be_known = self._may_be_known(images, normal.alike)
        changed: dict[int, int] = {}  # by place, the row that it has now
        for row, query in enumerate(images.queries):
            place = -1
            if may_be_near[row]:
                now = distances[row]
                now[list(changed)] = between[row, list(changed.values())]
                place = int(now.argmin())
            cluster = self._clusters[place] if place >= 0 and distances[row, place] <= limits[row] else None
            if cluster is not None and np.dot(query.embedding, cluster.latest.embedding) >= normal.alike:
                is_variant = cluster.add(query, normal, images.changes[row])
                if is_variant and cluster.alike == KEPT:
                    self._kept[place], self._many = True, self._many + 1
                yield _Visit(row, cluster, is_new=False, is_variant=is_variant)
            else:
                is_new = not (may_be_known[row] and self._is_known(query, normal.alike))
                place = self._room()
                cluster = self._clusters[place] = Cluster.begin(query)
                self._kept[place] = False
                yield _Visit(row, cluster, is_new=is_new, is_variant=False)
            self._put(place, images, row)
            changed[place] = row

    def _put(self, place: int, images: AlikeCandidates, row: int) -> None:
        self._images += 1
        self._used[place] = self._images
        self._sketches[place], self._squares[place] = images.sketches[row], images.squares[row]
        if self._embeddings is not None:
            self._embeddings[place] = images.queries[row].embedding

    def _distances(self, images: AlikeCandidates) -> tuple[Sketches, Sketches]:
        """Squared distances less an image's own square: to the sketches here, [n, capacity], and to the others, [n, n]."""
        distances = images.sketches @ self._sketches.T
        distances *= -2
        distances += self._squares
        if len(images.queries) == 1:
            return distances, NO_OTHERS
        between = images.sketches @ images.sketches.T
        between *= -2
        between += images.squares
        np.fill_diagonal(between, np.inf)
        return distances, between

    def _may_be_known(self, images: AlikeCandidates, alike: float) -> NDArray[np.bool_]:
        """Of which images an embedding here, or of the others, may be alike."""
        if self._embeddings is None:
            return np.zeros(len(images.queries), np.bool_)
        found: NDArray[np.bool_] = (images.embeddings @ self._embeddings.T).max(axis=1) >= alike - ROUNDING
        if len(images.queries) > 1:
            others = images.embeddings @ images.embeddings.T
            np.fill_diagonal(others, -1)
            found |= others.max(axis=1) >= alike - ROUNDING
        return found

    def _is_known(self, query: Query, alike: float) -> bool:
        return self._embeddings is not None and float((self._embeddings @ query.embedding).max()) >= alike

    def _room(self) -> int:
        """The place of the cluster that has been without a new image for longest: of the kept ones where these are too many."""
        if not self._many:
            return int(self._used.argmin())
        of_kept = self._many > len(self._clusters) // 2
        place = int(np.where(self._kept == of_kept, self._used, self._images + 1).argmin())
        self._many -= of_kept
        return place


@dataclass(eq=False)
class _Seen:
    """What was made of one batch; `new` [N] says which images are variants of none, neither of the caller's nor of any."""

    traffic: ObservedTraffic
    queries: list[Query]
    changes: list[Changes]
    variants: tuple[Variant, ...] = ()
    new: NDArray[np.bool_] | None = None


class NearImages:
    """Of all callers together, and of each of a bounded number.

    Args:
        sketcher: for the images of the model that is served.
        normal: what answers are like where nobody attacks.
        images: of all callers that a new one is compared with.
        caller_images: of one caller that a new one of the same caller is compared with.

    """

    def __init__(self, sketcher: Sketcher, normal: Normal, images: int, caller_images: int) -> None:
        self._sketcher, self.normal = sketcher, normal
        self._all, self._caller_images = ClusterTable(images), caller_images
        self._of_callers: dict[int, ClusterTable] = {}
        self._seen: _Seen | None = None

    def variants(self, traffic: ObservedTraffic) -> tuple[Variant, ...]:
        """Variants of earlier images, each with its cluster as it is at the end of the batch. Computed once for each batch."""
        return self._compared(traffic).variants

    def new(self, traffic: ObservedTraffic) -> NDArray[np.bool_]:
        """Which images are neither identical with an earlier one nor a variant: bool [N]."""
        new = self._compared(traffic).new
        assert new is not None  # noqa: S101 - set where it is compared
        return new

    def queries(self, traffic: ObservedTraffic) -> tuple[list[Query], list[Changes]]:
        """The images of a batch, as they are kept, and what is known of how each differs from others."""
        seen = self._look_at(traffic)
        return seen.queries, seen.changes

    def forget(self, caller: int) -> None:
        """That number belongs to another caller from now on."""
        self._of_callers.pop(caller, None)

    def _look_at(self, traffic: ObservedTraffic) -> _Seen:
        if self._seen is None or self._seen.traffic is not traffic:
            answers = traffic.answers
            numbers = answers.labels.tolist(), answers.soft_margin.tolist(), lead_of_vote(answers.probabilities).tolist()
            parts = zip(self._sketcher.details(traffic.images), answers.embeddings, *numbers, strict=True)
            # Copies, or one image that is kept would keep its whole batch.
            queries = [Query(traffic.now, detail.copy(), z.copy(), *rest) for detail, z, *rest in parts]
            self._seen = _Seen(traffic, queries, [{} for _ in queries])
        return self._seen

    def _compared(self, traffic: ObservedTraffic) -> _Seen:
        seen = self._look_at(traffic)
        if seen.new is None:
            seen.new = np.ones(len(traffic), np.bool_)  # where comparing fails, it fails once
            seen.variants = tuple(self._compare(seen, seen.new))
        return seen

    def _compare(self, seen: _Seen, new: NDArray[np.bool_]) -> Iterator[Variant]:
        sketches, traffic = self._sketcher.sketches(seen.traffic.images), seen.traffic
        squares = np.einsum("nd,nd->n", sketches, sketches)
        images = AlikeCandidates(sketches, squares, traffic.answers.embeddings, seen.queries, seen.changes)
        for visit in self._all.visit(images, self.normal):
            new[visit.row] &= visit.is_new
            if visit.is_variant:
                yield Variant(NOBODY, visit.cluster)
        for caller, rows in rows_by_caller(traffic.callers).items():
            table = self._of_callers.get(caller)
            if table is None:
                table = self._of_callers[caller] = ClusterTable(self._caller_images, images.embeddings.shape[1])
            for visit in table.visit(images.take(rows), self.normal):
                new[rows[visit.row]] &= visit.is_new
                if visit.is_variant:
                    yield Variant(caller, visit.cluster)


def rows_by_caller(callers: NDArray[np.intp]) -> dict[int, list[int]]:
    """The rows of each caller, in their order, without those of NOBODY."""
    rows: dict[int, list[int]] = {}
    for row, caller in enumerate(callers.tolist()):
        if caller != NOBODY:
            rows.setdefault(caller, []).append(row)
    return rows
