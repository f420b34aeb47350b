"""What rows that were added lately change of recent answers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Answers, Floats, Ints
from holdfast.model.vote import VoteParameters, vote

BLOCK = 64
"""Answers that are voted on at once: their arrays stay in cache, and are not mapped anew for every vote."""


@dataclass(frozen=True)
class Rows:
    """Exemplars by embeddings float32 [n, D], labels int64 [n] and ids int64 [n]."""

    embeddings: Floats
    labels: Ints
    ids: Ints

    def take(self, rows: NDArray[np.bool_]) -> "Rows":
        """Some of them."""
        return Rows(self.embeddings[rows], self.labels[rows], self.ids[rows])

    def followed_by(self, others: "Rows") -> "Rows":
        """These, then the others."""
        return Rows(
            np.concatenate([self.embeddings, others.embeddings]),
            np.concatenate([self.labels, others.labels]),
            np.concatenate([self.ids, others.ids]),
        )

    def latest(self, count: int) -> "Rows":
        """The last `count` of them."""
        return Rows(self.embeddings[-count:], self.labels[-count:], self.ids[-count:])


@dataclass(frozen=True)
class Impact:
    """What some rows do.

    Attributes:
        reached: int64 [r], recent answers that a new row is a neighbour of.
        changed: bool [r], whether new rows and those of late change their labels.
        guilty: bool [n], new rows that are among the neighbours of a changed answer and have its new label.

    """

    reached: Ints
    changed: NDArray[np.bool_]
    guilty: NDArray[np.bool_]


def impact_of(new: Rows, lately: Rows, recent: Answers, parameters: VoteParameters) -> Impact:
    """Compare recent answers without the rows that were added lately, and with those and the new ones.

    Only answers that a new row is a neighbour of are compared, and of these only those that the server did not doubt itself: a
    class that was missing is to change what was doubtful.

    Args:
        new: rows to be added.
        lately: rows added lately, which may be among the neighbours of recent answers.
        recent: answers, with their neighbours and embeddings.
        parameters: of the vote.

    """
    guilty = np.zeros(len(new.labels), dtype=np.bool_)
    to_new = recent.embeddings @ new.embeddings.T
    reached = np.flatnonzero((to_new > recent.neighbours.similarities[:, -1:]).any(axis=1) & ~recent.abstain)
    changed = np.zeros(len(reached), dtype=np.bool_)
    added = lately.followed_by(new)
    for start in range(0, len(reached), BLOCK):
        rows = reached[start : start + BLOCK]
        was, now, farthest = _labels_without_and_with(added, recent, rows, parameters)
        differ = was != now
        changed[start : start + BLOCK] = differ
        inside = to_new[rows[differ]] >= farthest[differ]
        guilty |= (inside & (new.labels == now[differ][:, np.newaxis])).any(axis=0)
    return Impact(reached, changed, guilty)


def _labels_without_and_with(added: Rows, recent: Answers, rows: Ints, parameters: VoteParameters) -> tuple[Ints, Ints, Floats]:
    """Of some answers: labels int64 [r] without what was added and with it, and the least similarity [r, 1] that votes then."""
    near = recent.neighbours
    gone = np.isin(near.ids[rows], added.ids)
    similarities = np.where(gone, np.float32(-np.inf), near.similarities[rows])
    before = _most_similar(similarities, np.where(gone, -1, near.labels[rows]), parameters.k)
    to_added = recent.embeddings[rows] @ added.embeddings.T
    voting = (to_added > similarities.min(axis=1, keepdims=True)).any(axis=0)  # the others are nobody's neighbours
    after = _most_similar(
        np.concatenate([before[0], to_added[:, voting]], axis=1),
        np.concatenate([before[1], np.broadcast_to(added.labels[voting], (len(rows), voting.sum()))], axis=1),
        parameters.k,
    )
    classes = int(max(before[1].max(), after[1].max())) + 1
    was, now = (vote(*state, classes, parameters).labels for state in (before, after))
    return was, now, after[0].min(axis=1, keepdims=True)


def _most_similar(similarities: Floats, labels: Ints, k: int) -> tuple[Floats, Ints]:
    """The k most similar of each row [N, m], in no order, as a vote asks for none; those of label -1 at the end.

    Judging runs beside callers: to partition rows of a thousand and more costs a fifth of sorting them.
    """
    if similarities.shape[1] > k:
        order = np.argpartition(-similarities, k - 1, axis=1)[:, :k]
        similarities, labels = np.take_along_axis(similarities, order, axis=1), np.take_along_axis(labels, order, axis=1)
    absent = labels < 0
    if absent.any():
        order = np.argsort(absent, axis=1, kind="stable")
        similarities, labels = np.take_along_axis(similarities, order, axis=1), np.take_along_axis(labels, order, axis=1)
    return similarities, labels
