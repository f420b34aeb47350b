"""Many alike images that differ as no film does, and move the answer: what a black-box attack cannot do without.

Square, HopSkipJump, the boundary attack and their like ask about one image with thousands of small changes. Retries are
identical, and films and thumbnails differ by motion and light; neither counts. Evidence is of the images of one caller, and of
all together, so an attack that is spread over many callers shows too.
"""

from holdfast.server.monitor.detectors.detector import DetectorContext, TrafficDetector
from holdfast.server.monitor.detectors.traffic import ObservedTraffic

THRESHOLD = 12.0
"""Images that are evidence."""


class QuerySimilarity(TrafficDetector):
    """Counts for each image and its variants."""

    name = "query-similarity"
    by_similarity = True

    @classmethod
    def make(cls, context: DetectorContext) -> "QuerySimilarity":
        """Every bundle will do."""
        return cls(context)

    def look(self, traffic: ObservedTraffic) -> None:
        """One reason for each variant that is asked while evidence is above the threshold."""
        for caller, counts in self.context.near.variants(traffic):
            if counts.evidence >= THRESHOLD:
                self.alarm(caller, counts.evidence, THRESHOLD)
