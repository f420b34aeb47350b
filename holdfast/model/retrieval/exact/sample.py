"""What the k best of a query will reach, by a sample of the rows."""

import numpy as np

from holdfast.model.answers import Floats

SAMPLE = 2048
"""Rows that are looked at."""

DEVIATIONS, MORE = 3, 4
"""The guess is taken so many standard deviations, and so many rows of the sample, too low, so that fewer than k rows seldom
reach it: where few are expected, many more may be drawn."""

GROUPS = 8
"""Groups of rows for each that the guess is about: so few share one that the guess is hardly lower for it."""


class RowSample:
    """Some rows, spread over all: they often come class by class.

    Args:
        rows: float32 [M, D]; these are copied.

    """

    def __init__(self, rows: Floats) -> None:
        self._of = len(rows)
        self._columns = np.ascontiguousarray(rows[:: max(1, len(rows) // SAMPLE)][:SAMPLE].T)

    def guess(self, queries: Floats, k: int) -> Floats:
        """What inner product the k best of each query [N, D] will probably reach: float32 [N]."""
        with np.errstate(invalid="ignore", over="ignore"):  # numbers that are none reach nothing
            products = queries @ self._columns
        drawn = products.shape[1]
        expected = k * drawn / self._of
        wanted = min(drawn, int(expected + DEVIATIONS * expected**0.5) + MORE)
        # The best of groups are fewer to look through, and their n-th best is at most the n-th best of all.
        size = max(1, drawn // (GROUPS * wanted))
        groups = drawn // size
        best = products[:, : size * groups].reshape(-1, size, groups).max(axis=1)
        best.partition(groups - wanted, axis=1)
        guess: Floats = best[:, groups - wanted].copy()
        return guess
