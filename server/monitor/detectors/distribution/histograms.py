"""Distributions of numbers, compared with that of a reference: histograms over its quantiles, which forget."""

import numpy as np
from numpy.typing import NDArray

BINS = 16
"""Each holds as large a share of the reference as the others."""


class RecentHistograms:
    """Of several streams of numbers, each over the bins of one reference.

    Args:
        reference: float [n], ascending, n >= 1.
        streams: how many.
        memory: numbers of one stream after which what was counted before weighs 1 / e.

    """

    def __init__(self, reference: NDArray[np.float32], streams: int, memory: float) -> None:
        self._edges = np.quantile(reference, np.arange(1, BINS) / BINS)
        counted = np.bincount(np.searchsorted(self._edges, reference, side="right"), minlength=BINS)
        self._expected = np.cumsum(counted / counted.sum())
        self._counts = np.zeros((streams, BINS))
        self._memory = memory

    def add(self, streams: NDArray[np.intp], values: NDArray[np.float32]) -> None:
        """Count N numbers, `streams` [N] says where; what is not finite is left out."""
        kept = np.isfinite(values)
        streams, bins = streams[kept], np.searchsorted(self._edges, values[kept], side="right")
        touched, counts = np.unique(streams, return_counts=True)
        self._counts[touched] *= np.exp(-counts / self._memory)[:, None]
        np.add.at(self._counts, (streams, bins), 1)

    def forget(self, stream: int) -> None:
        """Begin one stream anew."""
        self._counts[stream] = 0

    def size(self, streams: NDArray[np.intp]) -> NDArray[np.float64]:
        """How many numbers are remembered. Shape: [S] -> [S]."""
        size: NDArray[np.float64] = self._counts[streams].sum(axis=1)
        return size

    def distance(self, streams: NDArray[np.intp]) -> NDArray[np.float64]:
        """Kolmogorov and Smirnov's distance to the reference, at the edges of the bins. Shape: [S] -> [S] in [0, 1]."""
        shares = self._counts[streams] / np.maximum(self.size(streams), 1)[:, None]
        distance: NDArray[np.float64] = np.abs(np.cumsum(shares, axis=1) - self._expected).max(axis=1)
        return distance


def needed(size: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """The distance that `size` independent numbers of the reference exceed with a probability of at most `level`.

    By Massart's bound, P(distance > d) <= 2 exp(-2 n d^2), for a reference that is known exactly.
    """
    distance: NDArray[np.float64] = np.sqrt(np.log(2 / level) / (2 * np.maximum(size, 1)))
    return distance
