"""Variants of one image whose changes undo each other: the steps of a search, whatever their size.

A search asks at a point plus one random direction, then plus another one. So each change takes back the one before, and the
cosine of two changes in a row is near -1/2, with little spread where directions have thousands of dimensions: what GWAD learns
of such cosines, as a rule. Motion goes on the way it went: the cosine of a film is above that, and spread.
"""

from holdfast.server.monitor.detectors.alike.cluster import ClusterCounts
from holdfast.server.monitor.detectors.detector import DetectorContext, TrafficDetector
from holdfast.server.monitor.detectors.traffic import ObservedTraffic

LEAST = 24
"""Variants before the pattern is looked at."""

MEAN = (-0.75, -0.2)
SPREAD = 0.25
"""Standard deviation of the cosines, at most."""

EVIDENCE = 8.0
"""Variants that moved the answer in a way no motion explains, at least: the noise of a camera has the same pattern."""


class UpdatePattern(TrafficDetector):
    """Looks at each image and its variants."""

    name = "update-pattern"
    by_similarity = True

    @classmethod
    def make(cls, context: DetectorContext) -> "UpdatePattern":
        """Every bundle will do."""
        return cls(context)

    def look(self, traffic: ObservedTraffic) -> None:
        """One reason for each variant that is asked while the pattern holds; the score is the number of variants."""
        for caller, counts in self.context.near.variants(traffic):
            if counts.alike >= LEAST and counts.evidence >= EVIDENCE and is_search(counts):
                self.alarm(caller, counts.alike, LEAST)


def is_search(counts: ClusterCounts) -> bool:
    """Whether changes take back the ones before."""
    return MEAN[0] <= counts.turn <= MEAN[1] and counts.turn_spread <= SPREAD
