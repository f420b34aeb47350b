"""What a detector is, and the soft edge through which the neighbours that it looks at have a gradient."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import floor
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from holdfast.model.answers import Answers

Suspicion = NDArray[np.float64]

Penalty = Callable[[Tensor, Tensor], Tensor]
"""(embeddings float [N, D], the wrong answers wanted int64 [N]) -> float [N]: what an attacker minimises, differentiable."""


@dataclass(frozen=True, eq=False)
class Detector:
    """Something that may tell an attacked image from a clean one.

    Attributes:
        name: for reports.
        threshold: it goes off where the score is above this.
        score: what the server computes of its answers: float64 [N], the larger the more suspicious.
        penalty: its differentiable stand-in.
        by_share: its score falls with the answer's share of the vote, and with little else.

    """

    name: str
    threshold: float
    score: Callable[[Answers], Suspicion] = field(repr=False)
    penalty: Penalty = field(repr=False)
    by_share: bool = False

    def flagged(self, answers: Answers) -> NDArray[np.bool_]:
        """Where it goes off. Shape: bool [N]."""
        flagged: NDArray[np.bool_] = self.score(answers) > self.threshold
        return flagged

    def at(self, false_positives: float, clean: Answers, labels: NDArray[np.int64]) -> Self:
        """The same detector at the threshold of a false-positive rate; see `threshold_at`.

        Args:
            false_positives: the rate, in [0, 1).
            clean: answers to clean images, none of which is attacked later.
            labels: int64 [N], their true classes; only those answered rightly count.

        """
        return replace(self, threshold=threshold_at(false_positives, self.score(clean)[clean.labels == labels]))


def threshold_at(rate: float, scores: Suspicion) -> float:
    """The lowest of `scores` [n] that at most `rate` of them exceed.

    Raises:
        ValueError: there are no scores, or the rate is not in [0, 1).

    """
    if not 0 <= rate < 1 or len(scores) == 0:
        raise ValueError(f"a threshold wants a rate in [0, 1) and at least one score, not {rate} and {len(scores)}")
    # Times n, a rate such as .29 of 100 comes out as 28.999...
    return float(np.sort(scores)[len(scores) - 1 - floor(rate * len(scores) + 1e-9)])


class SoftNeighbours:
    """The k nearest exemplars, with a soft edge: exemplar i counts sigmoid((<z, b_i> - s_k) / tau), s_k the k-th similarity.

    All of the bank counts a little, so that groups absent among the k have a gradient too. s_k counts as a constant.
    """

    def __init__(self, bank: Tensor, k: int, tau: float = 0.02) -> None:
        """Keep float [M, D] embeddings; `tau` is the width of the edge."""
        self.bank, self.k, self.tau = bank, k, tau

    def shares(self, z: Tensor, members: Tensor, temperature: float | None = None) -> Tensor:
        """What part of the neighbours is in each group, as `vote` weighs them.

        Args:
            z: [N, D].
            members: 0 or 1 [M, G].
            temperature: of an exponential weighting; None counts all neighbours alike.

        Returns:
            [N, G] in [0, 1].

        """
        similarities = z.float() @ self.bank.T
        highest = similarities.detach().topk(self.k, dim=1).values
        weights = ((similarities - highest[:, -1:]) / self.tau).sigmoid()
        if temperature is not None:
            weights = weights * ((similarities - highest[:, :1]) / temperature).exp()
        return (weights @ members) / weights.sum(1, keepdim=True)

    def kth_distance(self, z: Tensor) -> Tensor:
        """1 - s_k, whose gradient leads to that neighbour. Shape: [N, D] -> [N]."""
        return 1 - (z.float() @ self.bank.T).topk(self.k, dim=1).values[:, -1]
