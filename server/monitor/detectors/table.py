"""Every detector: a file, and one line here."""

from holdfast.server.monitor.detectors.detector import MakeDetector
from holdfast.server.monitor.detectors.distribution.coverage import ExtractionCoverage
from holdfast.server.monitor.detectors.distribution.drift import Drift
from holdfast.server.monitor.detectors.distribution.low_margin import LowMargin
from holdfast.server.monitor.detectors.distribution.unlike import UnlikeImages
from holdfast.server.monitor.detectors.similarity.fingerprints import Fingerprints
from holdfast.server.monitor.detectors.similarity.floods import DuplicateFlood
from holdfast.server.monitor.detectors.similarity.query_similarity import QuerySimilarity
from holdfast.server.monitor.detectors.similarity.update_pattern import UpdatePattern

DETECTORS: dict[str, MakeDetector] = {
    QuerySimilarity.name: QuerySimilarity.make,
    UpdatePattern.name: UpdatePattern.make,
    DuplicateFlood.name: DuplicateFlood.make,
    Fingerprints.name: Fingerprints.make,
    LowMargin.name: LowMargin.make,
    UnlikeImages.name: UnlikeImages.make,
    ExtractionCoverage.name: ExtractionCoverage.make,
    Drift.name: Drift.make,
}
