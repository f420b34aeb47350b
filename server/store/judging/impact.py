"""What rows that were added lately change of recent answers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Answers, Floats, Ints
from holdfast.model.vote import VoteParameters, vote


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
    ids, labels, similarities = recent.neighbours.ids, recent.neighbours.labels, recent.neighbours.similarities
    guilty = np.zeros(len(new.labels), dtype=np.bool_)
    to_new = recent.embeddings @ new.embeddings.T
    reached = np.flatnonzero((to_new > similarities[:, -1:]).any(axis=1) & ~recent.abstain)
    if not len(reached):
        return Impact(reached, np.zeros(0, dtype=np.bool_), guilty)
    gone = np.isin(ids[reached], np.concatenate([lately.ids, new.ids]))
    without = np.where(gone, np.float32(-np.inf), similarities[reached])
    before = _most_similar(without, np.where(gone, -1, labels[reached]), parameters.k)
    added = lately.followed_by(new)
    to_added = np.concatenate([recent.embeddings[reached] @ lately.embeddings.T, to_new[reached]], axis=1)
    near = (to_added > without.min(axis=1, keepdims=True)).any(axis=0)  # the others are nobody's neighbours
    columns = np.concatenate([before[0], to_added[:, near]], axis=1)
    together = np.concatenate([before[1], np.broadcast_to(added.labels[near], (len(reached), near.sum()))], axis=1)
    after = _most_similar(columns, together, parameters.k)
    classes = int(max(before[1].max(), after[1].max())) + 1
    was, now = (vote(*state, classes, parameters).labels for state in (before, after))
    changed = was != now
    inside = to_new[reached[changed]] >= after[0][changed].min(axis=1, keepdims=True)
    guilty = (inside & (new.labels == now[changed][:, np.newaxis])).any(axis=0)
    return Impact(reached, changed, guilty)


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
