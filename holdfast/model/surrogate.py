"""The soft-kNN: the differentiable stand-in of the vote, in numpy, for the soft margin and for probes.

    L_c(z) = logsumexp over exemplars i of class c of (<z, b_i> / tau + w_i)

over the *whole* bank. A vote of k neighbours is piecewise constant, and even a weighted top-k has no gradient toward classes
that are absent among the k: attacks on those find nothing, which proves nothing. `w_i` is 0 for an exemplar, and the log of
the number of exemplars that a prototype stands for.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.model.prototypes import ClassPrototypes

Floats = NDArray[np.float32]

FINITE = 80.0
"""Nats below the largest at which exp is still a normal float32 number."""

LOWEST = np.float32(-1e30)
"""Stands for the largest of no logits at all."""


class Surrogate(Protocol):
    """A soft-kNN, whatever it is made of."""

    @property
    def tau(self) -> float:
        """Temperature of the similarities."""

    def log_scores(self, z: Floats) -> Floats:
        """L_c of each embedding, of unit length. Shape: float32 [N, D] -> float32 [N, C]."""

    def margin(self, z: Floats, labels: NDArray[np.int64]) -> Floats:
        """Soft margin L_label - max over other classes of L_c, in nats. Shape: [N, D], [N] -> float32 [N]."""

    def margin_gradient(self, z: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """The soft margin and its gradient with respect to z. Shape: [N, D], [N] -> float32 [N], float32 [N, D]."""


class SoftKNN:
    """Whole-bank soft-kNN.

    Args:
        bank: float32 [M, D], L2-normalised embeddings.
        labels: int64 [M], their labels in [0, classes).
        classes: number of classes C.
        tau: temperature of the similarities.
        log_weights: float32 [M], or None for exemplars that count once each; -inf for one that does not count.

    A class without an exemplar scores -inf.

    """

    def __init__(
        self,
        bank: Floats,
        labels: NDArray[np.int64],
        classes: int,
        tau: float,
        log_weights: Floats | None = None,
    ) -> None:
        order = np.argsort(labels, kind="stable")  # a class is one slice
        self._bank = np.ascontiguousarray(bank[order], dtype=np.float32)
        # Similarities are at most 1, so 1/tau is taken off every logit and exp cannot overflow; nor does it underflow unless
        # tau is tiny, and then each class has its own largest logit taken off.
        self._scaled = np.ascontiguousarray((self._bank / np.float32(tau)).T)
        weights = np.zeros(len(bank), np.float32) if log_weights is None else log_weights[order]
        self._offsets = (weights - 1 / tau).astype(np.float32)
        self._wide = 2 / tau > FINITE
        bounds = np.searchsorted(labels[order], np.arange(classes + 1))
        self._slices = [slice(int(a), int(b)) for a, b in pairwise(bounds)]
        self._sizes = np.diff(bounds)
        self._present = np.flatnonzero(self._sizes)  # reduceat cannot reduce an empty class
        self._starts = bounds[self._present]
        self._class_weights = np.zeros(classes, dtype=np.float32)  # logs, added to the scores
        self.tau = tau

    @classmethod
    def compressed(
        cls,
        bank: Floats,
        labels: NDArray[np.int64],
        classes: int,
        tau: float,
        prototypes: int,
    ) -> Self:
        """Stand-in of at most about `prototypes` rows: k-means within each class, each prototype weighed by its members.

        For the soft margin of live traffic, where a whole bank of 50,000 would cost more than the encoder. An attack
        that has to be honest uses the whole bank.
        """
        return cls.over(ClassPrototypes.of(bank, labels, prototypes), classes, tau)

    @classmethod
    def over(cls, prototypes: ClassPrototypes, classes: int, tau: float) -> Self:
        """Stand-in of a bank that is known by its prototypes."""
        return cls(prototypes.embeddings, prototypes.labels, classes, tau, prototypes.log_weights)

    def __len__(self) -> int:
        return len(self._bank)

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return len(self._slices)

    def reweighed(self, weights: NDArray[np.float64] | None) -> Self:
        """The same, each class weighed as the vote weighs it: float64 [C] in (0, 1], or None. Shares all arrays.

        The log of a class's weight is added to L_c. It moves the borders between classes, and no gradient of any L_c.
        """
        if weights is None:
            return self
        other = copy.copy(self)
        other._class_weights = np.log(weights).astype(np.float32)  # noqa: SLF001 - its own
        return other

    def reweighed_as(self, other: "SoftKNN") -> Self:
        """The same with the class weights of `other`, of the same classes."""
        weighed = copy.copy(self)
        weighed._class_weights = other._class_weights  # noqa: SLF001 - its own
        return weighed

    def widened(self, classes: int) -> Self:
        """The same of more classes, the new ones without an exemplar. Shares all arrays."""
        wide = copy.copy(self)
        end = slice(len(self), len(self))
        wide._slices = self._slices + [end] * (classes - self.classes)  # noqa: SLF001 - its own
        wide._class_weights = np.pad(self._class_weights, (0, classes - self.classes))  # noqa: SLF001 - its own
        return wide

    def rows(self) -> tuple[Floats, NDArray[np.int64], Floats]:
        """Every row that counts: float32 [m, D], its label int64 [m] and its log weight float32 [m]. Copies."""
        labels = np.repeat(np.arange(self.classes), [rows.stop - rows.start for rows in self._slices])
        counts = self._offsets > -np.inf
        return self._bank[counts], labels[counts], self._offsets[counts] + np.float32(1 / self.tau)

    def nearest_row(self, embedding: Floats, label: int) -> tuple[int, float]:
        """The row of a class that is nearest to float32 [D] and counts, and its squared distance; -1 and inf of none."""
        rows = self._slices[label] if label < self.classes else slice(0, 0)
        distances = ((self._bank[rows] - embedding) ** 2).sum(axis=1)
        distances[self._offsets[rows] == -np.inf] = np.inf
        if not len(distances) or not np.isfinite(best := distances.min()):
            return -1, np.inf
        return rows.start + int(distances.argmin()), float(best)

    def without_members(self, rows: Sequence[int]) -> Self:
        """The same with one exemplar fewer behind each row that is named; one that stands for none counts no more."""
        fewer = copy.copy(self)
        offsets = self._offsets.copy()
        for row in rows:
            members = round(float(np.exp(np.float64(offsets[row]) + 1 / self.tau))) - 1
            offsets[row] = np.log(members) - 1 / self.tau if members > 0 else -np.inf
        fewer._offsets = offsets  # noqa: SLF001 - its own
        return fewer

    def log_scores(self, z: Floats) -> Floats:
        """L_c of each embedding, of unit length. Shape: float32 [N, D] -> float32 [N, C]."""
        return self._scores_and_weights(z)[0]

    def margin(self, z: Floats, labels: NDArray[np.int64]) -> Floats:
        """Soft margin L_label - max over other classes of L_c, in nats. Shape: [N, D], [N] -> float32 [N]."""
        own, other, _ = contest(self.log_scores(z), labels)
        return own - other

    def margin_gradient(self, z: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """The soft margin and its gradient with respect to z. Shape: [N, D], [N] -> float32 [N], float32 [N, D]."""
        scores, exponentials = self._scores_and_weights(z)
        own, other, rival = contest(scores, labels)
        return own - other, self._pulled(z, pulls_of(labels, rival, scores.shape[1]), exponentials)

    def pulled(self, z: Floats, pulls: Floats) -> Floats:
        """The gradient with respect to z of the sum over classes of pulls [N, C] times L_c: float32 [N, D]."""
        return self._pulled(z, pulls, self._scores_and_weights(z)[1])

    def _pulled(self, z: Floats, pulls: Floats, exponentials: Floats) -> Floats:
        gradient = np.zeros_like(z, dtype=np.float32)
        for c in np.flatnonzero(pulls.any(axis=0)).tolist():
            rows, pull = self._slices[c], pulls[:, c]
            if rows.stop > rows.start:
                involved = pull != 0
                softmax = exponentials[involved, rows]
                softmax /= softmax.sum(axis=1, keepdims=True)
                gradient[involved] += pull[involved, np.newaxis] * (softmax @ self._bank[rows]) / self.tau
        return gradient

    def _scores_and_weights(self, z: Floats) -> tuple[Floats, Floats]:
        """L_c [N, C], and the exponentials [N, M], each class's to a scale of its own."""
        # On the hot path: a handful of calls for all classes, and as few as can be that go through all of it.
        logits = z.astype(np.float32) @ self._scaled
        logits += self._offsets
        taken: Floats | np.float32 = np.float32(-1 / self.tau)
        if self._wide:
            largest = np.maximum(np.maximum.reduceat(logits, self._starts, axis=1), LOWEST)
            logits -= np.repeat(largest, self._sizes[self._present], axis=1)
            taken = taken - largest
        np.exp(logits, out=logits)
        scores = np.full((len(z), len(self._slices)), -np.inf, dtype=np.float32)
        with np.errstate(divide="ignore"):  # of a class whose every weight is 0
            scores[:, self._present] = np.log(np.add.reduceat(logits, self._starts, axis=1)) - taken
        scores += self._class_weights
        return scores, logits


def pulls_of(labels: NDArray[np.int64], rivals: NDArray[np.int64], classes: int) -> Floats:
    """What the margin's gradient is of each class's score: 1 for the label, -1 for its rival. float32 [N, C]."""
    rows, pulls = np.arange(len(labels)), np.zeros((len(labels), classes), dtype=np.float32)
    pulls[rows, labels] += 1
    pulls[rows, rivals] -= 1
    return pulls


def contest(scores: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """The label's own score, the strongest other class's score, and that class."""
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = -np.inf
    rival = others.argmax(axis=1)
    return scores[rows, labels], others[rows, rival], rival
