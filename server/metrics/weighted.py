"""A histogram for Prometheus whose observations can count for many."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from operator import add
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

COUNT_AT = 2048
"""Values that are kept until they are counted, at most about so many; a scrape counts them too."""


class WeightedHistogram(Collector):
    """Like prometheus_client's Histogram, which takes one observation at a time: a batch of 64 images is 64 of them at once.

    Args:
        name: of the metric, with its unit.
        text: what it is.
        buckets: upper bounds, ascending; the last, infinity, is added.
        registry: shows it; None shows it nowhere.

    """

    def __init__(self, name: str, text: str, buckets: Iterable[float], registry: CollectorRegistry | None) -> None:
        self._name, self._text = name, text
        self._bounds = (*map(float, buckets), float("inf"))
        self._edges = np.array(self._bounds)
        self._counts, self._sum = [0] * len(self._bounds), 0.0
        self._uncounted: list[NDArray[np.floating]] = []
        self._uncounted_values = 0
        self._lock = Lock()
        if registry is not None:
            registry.register(self)

    def observe(self, value: float, count: int = 1) -> None:
        """`count` observations of one value."""
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[bucket] += count
            self._sum += value * count

    def observe_all(self, values: NDArray[np.floating]) -> None:
        """One observation of each value that is finite. Shape: [N]."""
        # Many small arrays are counted at once: numpy's price is that of a call, whatever the number of values.
        with self._lock:
            self._uncounted.append(values.copy())
            self._uncounted_values += len(values)
            if self._uncounted_values >= COUNT_AT:
                self._count()

    def _count(self) -> None:
        """Count what is not counted yet. The caller holds the lock."""
        if not self._uncounted:
            return
        values = np.concatenate(self._uncounted)
        self._uncounted.clear()
        self._uncounted_values = 0
        finite = values[np.isfinite(values)]
        counts = np.bincount(np.searchsorted(self._edges, finite), minlength=len(self._bounds)).tolist()
        self._counts = list(map(add, self._counts, counts))
        self._sum += float(finite.sum(dtype=np.float64))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What a scrape shows: for each bound, all that lies at it or below."""
        with self._lock:
            self._count()
            counts, total = list(accumulate(self._counts)), self._sum
        family = HistogramMetricFamily(self._name, self._text)
        for bound, count in zip((*map(str, self._bounds[:-1]), "+Inf"), counts, strict=True):
            family.add_sample(f"{self._name}_bucket", {"le": bound}, count)
        # A sum that can fall is no counter. OpenMetrics then has no count either: it is the last bucket.
        if self._bounds[0] >= 0:
            family.add_sample(f"{self._name}_count", {}, counts[-1])
            family.add_sample(f"{self._name}_sum", {}, total)
        yield family
