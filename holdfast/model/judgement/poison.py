"""Poison tolerance: how many exemplars somebody could insert before an answer changes (Jia et al., arXiv 2012.03765).

Whoever inserts e exemplars pushes the last e of the k neighbours out, and adds e votes to a class of their choice:

    the answer stands if no class b wins the vote of the first k - e neighbours and e more for b

The strongest insertion is the image itself, of similarity 1, so each of the e weighs the most that a neighbour can weigh; and
as the winner can only gain by further ones, the smallest e that overturns is found by bisection. The vote is the one that is
served: weights, class weights and ties included. A class that is not there yet may be inserted too.

It is exact, in an index that finds all of its nearest exemplars. It holds while the encoder and the weights of classes stay
what they are: it says nothing where poisoned exemplars trained the encoder. Exemplars deleted or relabelled are not counted.
Neighbours that lie exactly where the image lies are taken to be pushed out like all others, so with k of these the true number
is larger.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats, Ints
from holdfast.model.vote import TIE, VoteParameters

NOT_KNOWN = -1
"""Stands for a tolerance that cannot be told."""


def poison_tolerance(
    similarities: Floats, labels: Ints, answered: Ints, classes: int, parameters: VoteParameters
) -> NDArray[np.int64]:
    """The most exemplars that can be inserted without changing the answer, wherever and of whatever class: int64 [N].

    Args:
        similarities: float32 [N, k], of the neighbours that voted, the nearest first.
        labels: int64 [N, k], their labels in [0, classes), or -1 at the end of a row of which fewer were found.
        answered: int64 [N], the winners of that vote.
        classes: number of classes C.
        parameters: how neighbours vote.

    Returns:
        In [0, k - 1]; NOT_KNOWN where no neighbour was found.

    """
    n, k = labels.shape
    contest = _Contest.of(similarities, labels, answered, classes, parameters)
    stands, falls = np.zeros(n, np.int64), np.full(n, k)  # k inserted exemplars are all that votes
    while (falls - stands > 1).any():
        tried = (stands + falls) // 2
        overturned = contest.overturned(tried)
        falls = np.where(overturned, tried, falls)
        stands = np.where(overturned, stands, tried)
    return np.where(labels[:, 0] < 0, NOT_KNOWN, stands)


@dataclass(frozen=True, slots=True)
class _Contest:
    """The vote of N images, ready to be held again with fewer neighbours.

    Attributes:
        rows: intp [N], 0 to N - 1.
        bins: int64 [N, k], where each neighbour's vote is counted.
        each: float64 [N, k], its weight, to a scale in which an exemplar of similarity 1 weighs 1; 0 where it is missing.
        similarities: float64 [N, k], 0 where it is missing.
        answered: int64 [N].
        of_class: float64 [C + 1], weights of the classes and of one that is new.

    """

    rows: NDArray[np.intp]
    bins: NDArray[np.int64]
    each: NDArray[np.float64]
    similarities: NDArray[np.float64]
    answered: Ints
    of_class: NDArray[np.float64]

    @classmethod
    def of(cls, similarities: Floats, labels: Ints, answered: Ints, classes: int, parameters: VoteParameters) -> "_Contest":
        found, new = labels >= 0, classes
        exact = np.where(found, similarities, 0).astype(np.float64)
        each = found.astype(np.float64)
        if parameters.weighting == "exponential":
            each = np.where(found, np.exp((np.minimum(exact, 1) - 1) / parameters.temperature), 0)
        weights, rows = parameters.weights_of(classes + 1), np.arange(len(labels))
        bins = rows[:, np.newaxis] * (classes + 1) + np.where(found, labels, new)
        return cls(rows, bins, each, exact, answered, np.ones(classes + 1) if weights is None else weights)

    def overturned(self, inserted: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether some other class wins with so many exemplars inserted: int64 [N], at least 1 -> bool [N]."""
        k, width = self.bins.shape[1], len(self.of_class)
        kept = np.arange(k) < (k - inserted)[:, np.newaxis]

        def per_class(values: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = np.bincount(self.bins.ravel(), weights=(values * kept).ravel(), minlength=len(self.rows) * width)
            return sums.reshape(-1, width) * self.of_class

        votes, added = per_class(self.each), inserted[:, np.newaxis] * self.of_class
        tie = TIE * (votes.sum(axis=1, keepdims=True) + added)
        lead = votes + added - votes[self.rows, self.answered][:, np.newaxis]
        lead[self.rows, self.answered] = -np.inf
        wins = lead > tie
        close = np.abs(lead) <= tie
        if close.any():
            wins |= close & self._wins_ties(per_class(self.similarities), added)
        won: NDArray[np.bool_] = wins.any(axis=1)
        return won

    def _wins_ties(self, summed: NDArray[np.float64], added: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which class would win a tie with the answer, by summed similarity and then by the smaller label: [N, C + 1]."""
        ahead = summed + added - summed[self.rows, self.answered][:, np.newaxis]
        smaller = np.arange(summed.shape[1]) < self.answered[:, np.newaxis]
        return (ahead > TIE) | ((np.abs(ahead) <= TIE) & smaller)
