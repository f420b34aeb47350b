"""A caller whose images are unlike those of the bundle: whoever copies a model and has no images of its kind asks others.

The distance to the k-th neighbour, and the soft margin, of each caller's images are compared with those of the bundle's
held-out ones, much as FDINet compares features with those of the training set. A caller with a task of another kind shows too,
and nothing tells the two apart.
"""

import numpy as np

from holdfast.server.monitor.detectors.callers import NOBODY
from holdfast.server.monitor.detectors.detector import DetectorContext, TrafficDetector
from holdfast.server.monitor.detectors.distribution.histograms import RecentHistograms
from holdfast.server.monitor.detectors.reference import Reference
from holdfast.server.monitor.detectors.traffic import ObservedTraffic

MEMORY = 400.0
LEAST = 150.0
"""Images of one caller."""

DISTANCE = 0.45
"""Kolmogorov and Smirnov's distance."""


class UnlikeImages(TrafficDetector):
    """Of each caller."""

    name = "extraction-distribution"

    def __init__(self, context: DetectorContext, reference: Reference) -> None:
        super().__init__(context)
        callers = context.numbers.capacity
        self._parts = [RecentHistograms(reference.distances, callers, MEMORY)]
        if len(reference.margins):
            self._parts.append(RecentHistograms(reference.margins, callers, MEMORY))

    @classmethod
    def make(cls, context: DetectorContext) -> "UnlikeImages | None":
        """Where the bundle has held-out images."""
        return None if context.reference is None else cls(context, context.reference)

    def look(self, traffic: ObservedTraffic) -> None:
        """At most one reason for each batch and caller. Variants of an image count once, as one."""
        rows = np.flatnonzero(self.context.near.new(traffic) & (traffic.callers != NOBODY))
        streams = traffic.callers[rows]
        callers = np.unique(streams)
        farthest = np.zeros(len(callers))
        for part, values in zip(self._parts, (traffic.answers.kth_distance, traffic.answers.soft_margin), strict=False):
            part.add(streams, values[rows])
            farthest = np.maximum(farthest, part.distance(callers) * (part.size(callers) >= LEAST))
        for at in np.flatnonzero(farthest >= DISTANCE):
            self.alarm(int(callers[at]), farthest[at], DISTANCE)

    def forget(self, caller: int) -> None:
        """Begin anew."""
        for part in self._parts:
            part.forget(caller)
