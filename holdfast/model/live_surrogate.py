"""The soft-kNN of exemplars that change: that of the base, and what was added and removed since.

    L_c(z) = log of the sum of exp(L_c) over the parts: the base, one part of most that was added, one of the latest

A removed exemplar is taken off the row that stands for it: its own where every exemplar is a row, which is exact, or the
nearest prototype of its class, which then stands for one exemplar fewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.model.surrogate import Floats, SoftKNN, contest, pulls_of

Rows = tuple[Floats, NDArray[np.int64], Floats]
"""Embeddings float32 [n, D], labels int64 [n], log weights float32 [n]."""

LATEST_ROWS = 256
"""Rows of the latest part at most, which is made anew with each change; above that it is merged with the one before it."""


@dataclass(frozen=True)
class LiveSoftKNN:
    """Keeps `holdfast.model.surrogate.Surrogate`. Immutable; a successor shares what has not changed.

    A change costs what it changes and at most LATEST_ROWS rows; once in so many added rows it costs all that were added.

    Attributes:
        parts: the base first; all of the same number of classes.

    """

    parts: tuple[SoftKNN, ...]

    @classmethod
    def over(cls, base: SoftKNN) -> Self:
        """A base without changes."""
        return cls((base,))

    def reweighed(self, weights: NDArray[np.float64] | None) -> "LiveSoftKNN":
        """See `SoftKNN.reweighed`."""
        return LiveSoftKNN(tuple(part.reweighed(weights) for part in self.parts))

    @property
    def tau(self) -> float:
        """Temperature of the similarities."""
        return self.parts[0].tau

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return self.parts[0].classes

    def with_changes(
        self,
        added: tuple[Floats, NDArray[np.int64]],
        removed: tuple[Floats, NDArray[np.int64]],
        classes: int,
    ) -> "LiveSoftKNN":
        """The soft-kNN after a change; this one stays as it is.

        Args:
            added: embeddings float32 [n, D] and their labels int64 [n].
            removed: those of exemplars that were in it, under the labels that they had.
            classes: number of classes from now on, at least as many as before.

        """
        parts = [part.widened(classes) for part in self.parts] if classes > self.classes else list(self.parts)
        if len(removed[1]):
            parts = _without(parts, *removed)
        if len(added[1]):
            ones = np.zeros(len(added[1]), dtype=np.float32)
            latest = (*added, ones) if len(parts) < 3 else _joined(parts.pop().rows(), (*added, ones))
            if len(latest[1]) > LATEST_ROWS and len(parts) == 2:
                latest = _joined(parts.pop().rows(), latest)
            bank, labels, weights = latest
            parts.append(SoftKNN(bank, labels, classes, self.tau, weights).reweighed_as(parts[0]))
        return LiveSoftKNN(tuple(parts))

    def log_scores(self, z: Floats) -> Floats:
        """L_c of each embedding, of unit length. Shape: float32 [N, D] -> float32 [N, C]."""
        scores = self.parts[0].log_scores(z)
        for part in self.parts[1:]:
            np.logaddexp(scores, part.log_scores(z), out=scores)
        return scores

    def margin(self, z: Floats, labels: NDArray[np.int64]) -> Floats:
        """Soft margin L_label - max over other classes of L_c, in nats. Shape: [N, D], [N] -> float32 [N]."""
        own, other, _ = contest(self.log_scores(z), labels)
        return own - other

    def margin_gradient(self, z: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """The soft margin and its gradient with respect to z. Shape: [N, D], [N] -> float32 [N], float32 [N, D]."""
        of_parts = [part.log_scores(z) for part in self.parts]
        scores = np.logaddexp.reduce(of_parts)
        own, other, rival = contest(scores, labels)
        pulls = pulls_of(labels, rival, self.classes)
        finite = np.where(np.isfinite(scores), scores, 0)
        gradient = np.zeros_like(z, dtype=np.float32)
        for part, part_scores in zip(self.parts, of_parts, strict=True):
            gradient += part.pulled(z, pulls * np.exp(part_scores - finite))
        return own - other, gradient


def _joined(first: Rows, second: Rows) -> Rows:
    return (
        np.concatenate([first[0], second[0]]),
        np.concatenate([first[1], second[1]]),
        np.concatenate([first[2], second[2]]),
    )


def _without(parts: Sequence[SoftKNN], embeddings: Floats, labels: NDArray[np.int64]) -> list[SoftKNN]:
    """Parts with each exemplar taken off the row that is nearest to it."""
    left = list(parts)
    for embedding, label in zip(embeddings, labels.tolist(), strict=True):
        nearest = [part.nearest_row(embedding, label) for part in left]
        chosen = min(range(len(left)), key=lambda part: nearest[part][1])
        row, _ = nearest[chosen]
        if row >= 0:
            left[chosen] = left[chosen].without_members([row])
    return left
