"""Counts of values in intervals, as the live page draws them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEPS = (0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0, 20.0, 50.0, 100.0)
"""Widths of intervals, as people read axes."""


@dataclass(frozen=True, slots=True)
class BinnedCounts:
    """How many values lie in each of B intervals.

    Attributes:
        edges: B + 1 of them, ascending; the first and the last interval also count what lies beyond them.
        counts: B of them.
        median: of the values; None of none.

    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    median: float | None

    @property
    def total(self) -> int:
        """Values counted."""
        return sum(self.counts)


def binned(values: NDArray[np.floating], edges: NDArray[np.float64]) -> BinnedCounts:
    """Count float [n] in the intervals between edges float64 [B + 1]; values that are not finite are left out."""
    finite = values[np.isfinite(values)]
    places = np.searchsorted(edges[1:-1], finite, side="right")
    counts = np.bincount(places, minlength=len(edges) - 1)
    median = float(np.median(finite)) if len(finite) else None
    return BinnedCounts(tuple(edges.tolist()), tuple(counts.tolist()), median)


def binned_by_range(values: NDArray[np.floating], intervals: int = 18) -> BinnedCounts:
    """Count float [n] in about so many intervals of a round width that reach from the 1st to the 99th percentile."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return BinnedCounts((0.0, 1.0), (0,), None)
    low, high = np.percentile(finite, (1, 99)).tolist()
    step = next((step for step in STEPS if step >= (high - low) / intervals), STEPS[-1])
    first, last = np.floor(low / step), np.ceil(high / step)
    edges: NDArray[np.float64] = np.arange(first, max(last, first + 1) + 1) * step
    return binned(finite, edges)


def shares_of_classes(labels: NDArray[np.int64], class_names: tuple[str, ...], most: int) -> list[tuple[str, float]]:
    """The classes that occur most among labels int64 [n], and their shares; what is beyond `most` is one "other classes"."""
    if not len(labels):
        return []
    counts = np.bincount(labels, minlength=len(class_names))[: len(class_names)]
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    shown = [(class_names[place], float(counts[place]) / len(labels)) for place in order[:most].tolist()]
    rest = int(counts[order[most:]].sum())
    return [*shown, ("other classes", rest / len(labels))] if rest else shown
