"""Very many variants of one image near another answer, however they differ.

What an attacker gains by hiding steps in motion or light, which the other detectors let pass, is lost again by the number of
questions, the volume that QPA looks at. A film whose answer is in doubt for minutes raises it too.
"""

from holdfast.server.monitor.detectors.detector import DetectorContext, TrafficDetector
from holdfast.server.monitor.detectors.traffic import ObservedTraffic

THRESHOLD = 400.0
"""Variants in doubt."""


class DuplicateFlood(TrafficDetector):
    """Counts for each image and its variants."""

    name = "duplicate-flood"
    by_similarity = True

    @classmethod
    def make(cls, context: DetectorContext) -> "DuplicateFlood":
        """Every bundle will do."""
        return cls(context)

    def look(self, traffic: ObservedTraffic) -> None:
        """One reason for each variant that is asked while there are too many."""
        for caller, counts in self.context.near.variants(traffic):
            if counts.doubtful >= THRESHOLD:
                self.alarm(caller, counts.doubtful, THRESHOLD)
