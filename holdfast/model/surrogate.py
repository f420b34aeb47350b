"""The soft-kNN: the differentiable stand-in of the vote, in numpy, for the soft margin and for probes.

    L_c(z) = logsumexp over exemplars i of class c of (<z, b_i> / tau + w_i)

over the *whole* bank. A vote of k neighbours is piecewise constant, and even a weighted top-k has no gradient toward classes
that are absent among the k: attacks on those find nothing, which proves nothing. `w_i` is 0 for an exemplar, and the log of
the number of exemplars that a prototype stands for.
"""

from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from holdfast.model.prototypes import Prototypes

Floats = NDArray[np.float32]

FINITE = 80.0
"""Nats below the largest at which exp is still a normal float32 number."""


class SoftKNN:
    """Whole-bank soft-kNN.

    Args:
        bank: float32 [M, D], L2-normalised embeddings.
        labels: int64 [M], their labels in [0, classes).
        classes: number of classes C.
        tau: temperature of the similarities.
        log_weights: float32 [M], or None for exemplars that count once each.

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
        return cls.over(Prototypes.of(bank, labels, prototypes), classes, tau)

    @classmethod
    def over(cls, prototypes: Prototypes, classes: int, tau: float) -> Self:
        """Stand-in of a bank that is known by its prototypes."""
        return cls(prototypes.embeddings, prototypes.labels, classes, tau, prototypes.log_weights)

    def __len__(self) -> int:
        return len(self._bank)

    def log_scores(self, z: Floats) -> Floats:
        """L_c of each embedding, of unit length. Shape: float32 [N, D] -> float32 [N, C]."""
        return self._scores_and_weights(z)[0]

    def margin(self, z: Floats, labels: NDArray[np.int64]) -> Floats:
        """Soft margin L_label - max over other classes of L_c, in nats. Shape: [N, D], [N] -> float32 [N]."""
        own, other, _ = _contest(self.log_scores(z), labels)
        return own - other

    def margin_gradient(self, z: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """The soft margin and its gradient with respect to z. Shape: [N, D], [N] -> float32 [N], float32 [N, D]."""
        scores, exponentials = self._scores_and_weights(z)
        own, other, rival = _contest(scores, labels)
        gradient = np.zeros_like(z, dtype=np.float32)
        for c, rows in enumerate(self._slices):
            sign = (labels == c).astype(np.float32) - (rival == c).astype(np.float32)
            if rows.stop > rows.start and sign.any():
                involved = sign != 0
                softmax = exponentials[involved, rows]
                softmax /= softmax.sum(axis=1, keepdims=True)
                gradient[involved] += sign[involved, np.newaxis] * (softmax @ self._bank[rows]) / self.tau
        return own - other, gradient

    def _scores_and_weights(self, z: Floats) -> tuple[Floats, Floats]:
        """L_c [N, C], and the exponentials [N, M], each class's to a scale of its own."""
        # On the hot path: a handful of calls for all classes, and as few as can be that go through all of it.
        logits = z.astype(np.float32) @ self._scaled
        logits += self._offsets
        taken: Floats | np.float32 = np.float32(-1 / self.tau)
        if self._wide:
            largest = np.maximum.reduceat(logits, self._starts, axis=1)
            logits -= np.repeat(largest, self._sizes[self._present], axis=1)
            taken = taken - largest
        np.exp(logits, out=logits)
        scores = np.full((len(z), len(self._slices)), -np.inf, dtype=np.float32)
        scores[:, self._present] = np.log(np.add.reduceat(logits, self._starts, axis=1)) - taken
        return scores, logits


def _contest(scores: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """The label's own score, the strongest other class's score, and that class."""
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = -np.inf
    rival = others.argmax(axis=1)
    return scores[rows, labels], others[rows, rival], rival
