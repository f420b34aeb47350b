"""Feature-shift certificate: how far an embedding can move before the answer may change.

If the embedding moves by at most D, a Euclidean distance between vectors of unit length, exemplar i is surely among the k
nearest if fewer than k others may be nearer, and possibly if fewer than k surely are:

    sure:      #{j != i: d_j <= d_i + 2D} < k          possible:      #{j: d_j < d_i - 2D} < k

The answer a stands if the sure votes for a outweigh what any other class c can have: A > min(U_c, k - A), with A the number of
sure votes for a and U_c that of possible ones for c. The largest D for which it does is found by bisection. In a weighted vote
A counts each exemplar as far away as it may be, and U_c counts the k - A nearest possible ones as near as they may be.

It bounds a move of the embedding, whatever moved it. A bound on pixels follows only with a Lipschitz constant of the encoder,
which is not known here, and no attack on pixels is excluded by it.

Only the nearest K exemplars are looked at. Where others may be among the k nearest after the move, they are all taken to be of
the strongest other class, and as near as the last one that was looked at: a larger K can only prove a larger D. So the
certificate holds wherever the list ends, but it needs an index that finds all of the nearest.

Embeddings are compared by similarities that are rounded, and equals by their ids: SLACK keeps all of that on the safe side.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats, Ints
from holdfast.model.vote import TIE, VoteParameters

SLACK = 4e-5
"""Two squared distances that differ by less may be in any order: twice the rounding of a similarity, for both of them."""

FARTHEST_MOVE = 2.0
"""The largest distance of two vectors of unit length: an answer that survives it depends on no embedding."""

HALVINGS = 14
"""Of the interval that holds the largest D: it is found to 1.3e-4, and what is given out is proved."""

AT_ONCE = 8
"""Embeddings whose exemplars are looked at together: of a thousand exemplars each they fit into a processor's cache."""

STEEPEST = 700.0
"""exp of more is no float64 number."""


def feature_shift_radius(
    similarities: Floats, labels: Ints, answered: Ints, classes: int, parameters: VoteParameters, *, complete: bool
) -> NDArray[np.float64]:
    """The distance by which each embedding can surely move without changing its answer: float64 [N] in [0, FARTHEST_MOVE].

    Args:
        similarities: float32 [N, K], of the nearest exemplars and the embedding, the nearest first, not rounded; K above k,
            unless there are no more. -inf at the end of a row of which fewer were found.
        labels: int64 [N, K], theirs in [0, classes), -1 where there is none.
        answered: int64 [N], the answers.
        classes: number of classes C.
        parameters: how neighbours vote.
        complete: whether the K are all exemplars of the index.

    Returns:
        0 where nothing can be proved, and where no neighbour was found.

    """
    radius = np.zeros(len(labels))
    for start in range(0, len(labels), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        moved = _Moved.of(similarities[some], labels[some], answered[some], classes, parameters, complete=complete)
        radius[some] = _largest(moved)
    return radius


def _largest(moved: "_Moved") -> NDArray[np.float64]:
    """The largest move that answers are proved to stand: float64 [n]."""
    proved = np.zeros(len(moved.answered))
    survives = moved.stands(np.full(len(proved), FARTHEST_MOVE))
    refuted = np.full(len(proved), FARTHEST_MOVE)
    for _ in range(HALVINGS):
        tried = (proved + refuted) / 2
        stands = moved.stands(tried)
        proved, refuted = np.where(stands, tried, proved), np.where(stands, refuted, tried)
    return np.where(survives, FARTHEST_MOVE, proved)


@dataclass(frozen=True, slots=True)
class _Moved:
    """N embeddings and their nearest exemplars, ready to be asked about a move.

    Attributes:
        distances: float64 [N, K + 1], the last one being where the first that was not looked at may be; inf where none is.
        own: bool [N, K], whether an exemplar has the label that was answered.
        bins: int64 [N, K], where its vote is counted.
        place: int64 [N, K], the exemplar's number among those of its class, from 1.
        answered: int64 [N].
        k: how many vote.
        of_class: float64 [C + 1], weights of the classes; of the last, which collects what is missing, 0.
        temperature: of an exponential vote; None where all weigh alike.

    """

    distances: NDArray[np.float64]
    own: NDArray[np.bool_]
    bins: NDArray[np.int64]
    place: NDArray[np.int64]
    answered: Ints
    k: int
    of_class: NDArray[np.float64]
    temperature: float | None

    @classmethod
    def of(
        cls,
        similarities: Floats,
        labels: Ints,
        answered: Ints,
        classes: int,
        parameters: VoteParameters,
        *,
        complete: bool,
    ) -> "_Moved":
        n, there, k = len(labels), labels >= 0, parameters.k
        distances = np.full((n, max(labels.shape[1], k) + 1), np.inf)
        distances[:, : labels.shape[1]] = np.sqrt(np.maximum(2 - 2 * similarities.astype(np.float64), 0))
        if not complete:
            distances[:, -1] = distances[:, labels.shape[1] - 1]
        distances[~there[:, 0]] = FARTHEST_MOVE  # no neighbour at all: finite, and nothing of it has a weight
        weights = parameters.weights_of(classes)
        return cls(
            distances,
            labels == answered[:, np.newaxis],
            np.arange(n)[:, np.newaxis] * (classes + 1) + np.where(there, labels, classes),
            _places(np.where(there, labels, classes)),
            answered,
            k,
            np.append(np.ones(classes) if weights is None else weights, 0.0),
            parameters.temperature if parameters.weighting == "exponential" else None,
        )

    def stands(self, move: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the answers surely stand: moves float64 [N] -> bool [N]."""
        d, k, by = self.distances, self.k, move[:, np.newaxis]
        near = d[:, :-1][:, : self.own.shape[1]]
        farthest = by + np.sqrt((near + by) ** 2 + SLACK)  # others may be as near as i where they are nearer than this now
        sure = farthest < d[:, k : k + 1]
        sure[:, k:] = False
        reach = farthest[:, min(k, near.shape[1]) - 1][:, np.newaxis]
        possible = near <= reach
        certain = (sure & self.own).sum(axis=1)
        for_answer = (self._weights(near + by) * (sure & self.own)).sum(axis=1) * self.of_class[self.answered]

        room = (k - certain)[:, np.newaxis]
        highest = self._weights(np.maximum(near - by, 0))
        counted = possible & (self.place <= room)
        others = self._per_class(highest * counted)
        unseen = np.flatnonzero(d[:, -1] <= reach[:, 0])
        if len(unseen):
            left = np.maximum(room - self._per_class(counted), 0)[unseen]
            others[unseen] += left * self._weights(np.maximum(d[unseen, -1:] - by[unseen], 0), unseen)
        others = others * self.of_class
        others[np.arange(len(d)), self.answered] = 0
        most = highest[:, :k].sum(axis=1) * self.of_class.max()
        outcome: NDArray[np.bool_] = for_answer - others.max(axis=1) > TIE * most
        return outcome

    def _per_class(self, votes: NDArray[Any]) -> NDArray[np.float64]:
        """Sums by class: [N, K] -> float64 [N, C + 1]."""
        width = len(self.of_class)
        sums = np.bincount(self.bins.ravel(), weights=votes.ravel(), minlength=len(votes) * width)
        return sums.astype(np.float64).reshape(-1, width)

    def _weights(self, distances: NDArray[np.float64], rows: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.float64]:
        """What exemplars at such distances weigh, to a scale of each row's own: [N, K]."""
        if self.temperature is None:
            return np.isfinite(distances).astype(np.float64)
        exponents = (self.distances[rows, :1] ** 2 - distances**2) / (2 * self.temperature)
        weights: NDArray[np.float64] = np.exp(np.minimum(exponents, STEEPEST))
        return weights


def _places(labels: Ints) -> NDArray[np.int64]:
    """The number of each entry among those of its row with its label, from 1: int64 [N, K]."""
    order = np.argsort(labels, axis=1, kind="stable")
    grouped = np.take_along_axis(labels, order, axis=1)
    columns = np.broadcast_to(np.arange(labels.shape[1]), labels.shape)
    begins = np.ones(labels.shape, dtype=np.bool_)
    begins[:, 1:] = grouped[:, 1:] != grouped[:, :-1]
    first = np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
    places = np.empty(labels.shape, dtype=np.int64)
    np.put_along_axis(places, order, columns - first + 1, axis=1)
    return places
