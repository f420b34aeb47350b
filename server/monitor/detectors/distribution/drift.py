"""What is asked, by all callers, is no longer what the bundle was calibrated for: credibility then promises nothing.

Margins, distances to the k-th neighbour and the classes answered are compared with those of the bundle's held-out images. With
many images the smallest difference is significant, so it also has to be large.
"""

import numpy as np

from holdfast.server.monitor.detectors.detector import ALL, DetectorContext, TrafficDetector
from holdfast.server.monitor.detectors.distribution.histograms import RecentHistograms
from holdfast.server.monitor.detectors.reference import Reference
from holdfast.server.monitor.detectors.traffic import ObservedTraffic

MEMORY = 5000.0
LEAST = 1000.0
"""Images."""

DISTANCE = 0.25
"""Kolmogorov and Smirnov's distance, and the distance in total variation of the classes."""

FIRST = np.zeros(1, np.intp)


class Drift(TrafficDetector):
    """Of all callers together."""

    name = "drift"

    def __init__(self, context: DetectorContext, reference: Reference) -> None:
        super().__init__(context)
        self._distances = RecentHistograms(reference.distances, 1, MEMORY)
        self._margins = RecentHistograms(reference.margins, 1, MEMORY) if len(reference.margins) else None
        self._expected, self._classes = reference.classes, np.zeros(len(reference.classes))

    @classmethod
    def make(cls, context: DetectorContext) -> "Drift | None":
        """Where the bundle has held-out images."""
        return None if context.reference is None else cls(context, context.reference)

    def look(self, traffic: ObservedTraffic) -> None:
        """At most one reason for each batch: the largest of the three distances. Variants of an image count once."""
        new = self.context.near.new(traffic)
        streams = np.zeros(int(new.sum()), np.intp)
        self._distances.add(streams, traffic.kth_distance[new])
        self._classes *= np.exp(-len(streams) / MEMORY)
        self._classes += np.bincount(traffic.labels[new], minlength=len(self._classes))[: len(self._classes)]
        found = [float(self._distances.distance(FIRST)[0]), self._distance_of_classes()]
        if self._margins is not None:
            self._margins.add(streams, traffic.soft_margin[new])
            found.append(float(self._margins.distance(FIRST)[0]))
        if self._distances.size(FIRST)[0] >= LEAST and max(found) >= DISTANCE:
            self.alarm(ALL, max(found), DISTANCE)

    def _distance_of_classes(self) -> float:
        shares = self._classes / max(1.0, self._classes.sum())
        return float(np.abs(shares - self._expected).sum() / 2)
