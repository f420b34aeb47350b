"""Detectors made for the model that is served, and what ordinary answers of it are like."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from holdfast.errors import HoldfastError
from holdfast.model.images.sketches import Sketcher
from holdfast.server.alarms.metrics import AlarmMetrics
from holdfast.server.alarms.settings import DetectorSettings
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.monitor.detectors.alike.cluster import Normal
from holdfast.server.monitor.detectors.alike.near import NearImages
from holdfast.server.monitor.detectors.callers import CallerNumbers
from holdfast.server.monitor.detectors.detector import DetectorContext, MakeDetector, TrafficDetector
from holdfast.server.monitor.detectors.reference import Reference

log = logging.getLogger(__name__)

DECLINE = 0.09
"""Of the way from the median of margins down to their tenth percentile: a fall of the mean that is none by chance."""


class References:
    """What ordinary answers of a bundle are like: computed once for each, which takes seconds. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: tuple[str, Reference | None] = "", None

    def of(self, model: ModelSnapshot) -> Reference | None:
        """Of the bundle of this model; None where it has no held-out images that can be read."""
        version = model.description.bundle_version
        with self._lock:
            if not version or self._of[0] != version:
                self._of = version, _computed(model)
            return self._of[1]

    def known(self, model: ModelSnapshot) -> Reference | None:
        """The same, at once; None also where it is not computed yet."""
        version, reference = self._of
        return reference if version and version == model.description.bundle_version else None


@dataclass(frozen=True, eq=False)
class MadeDetectors:
    """Detectors of one bundle by name, None for those that it lacks something for; and what finds alike images for them."""

    near: NearImages
    by_name: Mapping[str, TrafficDetector | None]


def make_detectors(
    table: Mapping[str, MakeDetector],
    model: ModelSnapshot,
    reference: Reference | None,
    numbers: CallerNumbers,
    *,
    settings: DetectorSettings,
    metrics: AlarmMetrics,
    alarm: Callable[[str, int, float, float, bool], None],
) -> MadeDetectors:
    """Every detector of a table, anew. The last four are what DetectorContext says."""
    normal = Normal() if reference is None else _normal_of(reference)
    shape = model.description.contract.shape
    near = NearImages(Sketcher(shape), normal, settings.detector_images, settings.detector_caller_images)
    context = DetectorContext(settings, numbers, reference, near, metrics, alarm)
    return MadeDetectors(near, {name: make(context) for name, make in table.items()})


def _computed(model: ModelSnapshot) -> Reference | None:
    description = model.description
    try:
        held_out = model.load_calibration()
        return Reference.of(model.classifier, held_out, classes=len(description.class_names), k=description.vote.k)
    except HoldfastError as error:
        log.info("what ordinary answers are like is not known: %s", error)
        return None


def _normal_of(reference: Reference) -> Normal:
    """What is normal, by the answers to held-out images."""
    alike, edge = float(np.quantile(reference.nearest, 0.9)), float(np.quantile(reference.leads, 0.02))
    if not len(reference.margins):
        return Normal(alike, edge=edge)
    low, middle = np.quantile(reference.margins, (0.1, 0.5))
    return Normal(alike, float(low), edge, DECLINE * float(middle - low))
