"""What two searches find, as one; and what a search finds, without rows that are deleted."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.retrieval.base import SPARE

Search = Callable[[Floats, int], Neighbours]
"""Float32 [N, D] queries and k -> rows [N, k], padded."""


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Which of the rows that a search goes through are not to be found.

    Attributes:
        is_dead: of ids, int64 [n], whether each is deleted.
        dead: how many rows are.
        size: how many rows there are, the deleted ones among them.

    """

    is_dead: Callable[[Ints], NDArray[np.bool_]]
    dead: int
    size: int


def is_in(ids: Ints, ascending: Ints) -> NDArray[np.bool_]:
    """Which ids, of any shape, are among some that ascend."""
    if not len(ascending):
        return np.zeros(ids.shape, dtype=np.bool_)
    places = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[places] == ids
    return found


def search_without(search: Search, tombstones: Tombstones, queries: Floats, k: int) -> Neighbours:
    """The k nearest of the rows that are not deleted: rows [N, k], padded.

    A few more than k are fetched, by how many of k are likely to be deleted. Queries with too few left are asked again, for
    four times as many more; k and all deleted rows are always enough.
    """
    dead = tombstones.dead
    if not dead:
        return search(queries, k)
    extra = min(dead, SPARE + 2 * (k * dead // max(tombstones.size, 1)))
    found, short = _alive(search(queries, k + extra), tombstones, k)
    while len(short) and extra < dead:
        extra = min(dead, 4 * extra)
        again, still = _alive(search(queries[short], k + extra), tombstones, k)
        found.ids[short], found.labels[short], found.similarities[short] = again.ids, again.labels, again.similarities
        short = short[still]
    return found


def merged(first: Neighbours, second: Neighbours, k: int) -> Neighbours:
    """The k nearest of both, whose rows descend; those of `second` may be shorter than k."""
    intruders = second.similarities >= first.similarities[:, -1:]
    columns = int(intruders.sum(axis=1).max(initial=0))
    if not columns:
        return first
    similarities = np.concatenate([first.similarities, second.similarities[:, :columns]], axis=1)
    ids = np.concatenate([first.ids, second.ids[:, :columns]], axis=1)
    labels = np.concatenate([first.labels, second.labels[:, :columns]], axis=1)
    return _columns_of(Neighbours(ids, labels, similarities), np.argsort(-similarities, axis=1, kind="stable")[:, :k])


def first_kept(found: Neighbours, keep: NDArray[np.bool_], k: int) -> Neighbours:
    """The first k of each row that are kept, padded.

    Args:
        found: rows [N, m] of at least k, padded.
        keep: bool [N, m], which of them are kept; what pads a row may be.
        k: columns wanted.

    """
    if keep.all():
        return Neighbours(found.ids[:, :k], found.labels[:, :k], found.similarities[:, :k])
    order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
    left = ~np.take_along_axis(keep, order, axis=1)
    kept = _columns_of(found, order)
    kept.ids[left], kept.labels[left], kept.similarities[left] = -1, -1, -np.inf
    return kept


def _alive(found: Neighbours, tombstones: Tombstones, k: int) -> tuple[Neighbours, NDArray[np.intp]]:
    """The first k that are alive in each row, padded; and the rows that have fewer, though there may be more to find."""
    missing = found.ids < 0
    keep = ~missing
    keep[keep] = ~tombstones.is_dead(found.ids[keep])
    alive = first_kept(found, keep, k)
    # Where not all that was asked for was found, there is no more.
    return alive, np.flatnonzero((alive.ids[:, -1] < 0) & ~missing[:, -1])


def _columns_of(found: Neighbours, order: NDArray[np.intp]) -> Neighbours:
    return Neighbours(
        np.take_along_axis(found.ids, order, axis=1),
        np.take_along_axis(found.labels, order, axis=1),
        np.take_along_axis(found.similarities, order, axis=1),
    )
