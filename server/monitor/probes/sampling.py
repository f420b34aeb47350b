"""Which answers are probed: each with a probability that is known, and larger where the soft margin is small.

An answer's probability is the rate, times a weight between LEAST and 2 - LEAST that falls with its rank among the margins of
late; weights have a mean of 1. So every answer may be probed, whatever is made to look safe, and the estimator divides by what
is known (holdfast.server.monitor.probes.stability).
"""

import numpy as np
from numpy.typing import NDArray

LEAST = 0.4
"""Weight of the largest margin. Smaller would probe those less, whose rare flips would then count for more."""

REMEMBERED = 2048
"""Margins of late, by which others are ranked."""

RANKS, RANKED_EVERY = 33, 256
"""Quantiles of these, and margins after which they are found again."""

LARGEST = 1e6
"""Stands for margins that are infinite, as where there is one class."""


class MarginSampler:
    """Says how likely each answer is to be probed. One thread asks, another may teach.

    Args:
        rate: mean of the probabilities, in [0, 1].

    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        least = max(LEAST, 2 - 1 / rate) if rate else LEAST  # so that no probability is above 1
        self._weights = np.linspace(2 - least, least, RANKS)
        self._kept, self._seen = np.empty(REMEMBERED), 0
        self._quantiles, self._unranked = np.empty(0), 0

    def probabilities(self, margins: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities with which answers of these soft margins are probed: float64 [N], at least LEAST times the rate."""
        quantiles = self._quantiles  # which another thread replaces
        if not len(quantiles):
            return np.full(len(margins), self._rate)
        known: NDArray[np.float64] = self._rate * np.interp(margins, quantiles, self._weights)
        return known

    def learn(self, margins: NDArray[np.floating]) -> None:
        """Margins of answers, probed or not."""
        latest = margins[-REMEMBERED:]
        self._kept[(self._seen + np.arange(len(latest))) % REMEMBERED] = latest
        self._seen += len(latest)
        self._unranked += len(latest)
        if len(self._quantiles) and self._unranked < RANKED_EVERY:
            return
        self._unranked = 0
        known = self._kept[: min(self._seen, REMEMBERED)]
        self._quantiles = np.quantile(known, np.linspace(0, 1, RANKS))


def finite(margins: NDArray[np.floating]) -> NDArray[np.float64]:
    """Margins as numbers that can be ranked and averaged: float64 [N]; those that are not known count as none at all."""
    return np.nan_to_num(margins.astype(np.float64), nan=0.0, posinf=LARGEST, neginf=-LARGEST)
