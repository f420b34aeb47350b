"""A caller whose images are unlike those of the bundle: whoever copies a model and has no images of its kind asks others.

The distance to the k-th neighbour is compared with that of held-out images of the same answer, much as FDINet compares features
with those of the class. So a caller whose images are all of one class is not taken for one. One with a task of another kind is,
and nothing tells the two apart.
"""

import numpy as np

from holdfast.server.monitor.detectors.callers import NOBODY
from holdfast.server.monitor.detectors.detector import DetectorContext, TrafficDetector
from holdfast.server.monitor.detectors.distribution.histograms import RecentHistograms
from holdfast.server.monitor.detectors.reference import Reference
from holdfast.server.monitor.detectors.traffic import ObservedTraffic

MEMORY = 500.0
LEAST = 250.0
"""Images of one caller."""

DISTANCE = 0.27
"""Kolmogorov and Smirnov's distance of the shares from the uniform distribution that they would have."""

UNIFORM = np.linspace(0, 1, 1001, dtype=np.float32)


class UnlikeImages(TrafficDetector):
    """Of each caller."""

    name = "extraction-distribution"

    def __init__(self, context: DetectorContext, reference: Reference) -> None:
        super().__init__(context)
        self._reference = reference
        self._shares = RecentHistograms(UNIFORM, context.numbers.capacity, MEMORY)

    @classmethod
    def make(cls, context: DetectorContext) -> "UnlikeImages | None":
        """Where the bundle has held-out images."""
        return None if context.reference is None else cls(context, context.reference)

    def look(self, traffic: ObservedTraffic) -> None:
        """At most one reason for each batch and caller. Variants of an image count once, as one."""
        rows = np.flatnonzero(self.context.near.new(traffic) & (traffic.callers != NOBODY))
        streams = traffic.callers[rows]
        self._shares.add(streams, self._reference.unusual(traffic.labels[rows], traffic.kth_distance[rows]))
        callers = np.unique(streams)
        distances = self._shares.distance(callers) * (self._shares.size(callers) >= LEAST)
        for at in np.flatnonzero(distances >= DISTANCE):
            self.alarm(int(callers[at]), distances[at], DISTANCE)

    def forget(self, caller: int) -> None:
        """Begin anew."""
        self._shares.forget(caller)
