"""What every detector is: it looks at traffic, and may have a reason for an alarm. No answer ever depends on it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from holdfast.server.alarms.metrics import AlarmMetrics
from holdfast.server.alarms.settings import DetectorSettings
from holdfast.server.monitor.detectors.alike.near import NearImages
from holdfast.server.monitor.detectors.callers import CallerNumbers
from holdfast.server.monitor.detectors.reference import Reference
from holdfast.server.monitor.detectors.traffic import ObservedTraffic

ALL = -1
"""In the place of a caller's number: all callers together."""


@dataclass(frozen=True, eq=False)
class DetectorContext:
    """What a detector is made of, anew for each bundle that is served.

    Attributes:
        settings: of the server.
        numbers: of the callers.
        reference: answers to held-out images; None where the bundle has none.
        near: finds images that are alike, for all detectors that ask.
        metrics: of detectors and alarms.
        alarm: takes a detector's name, the caller's number or ALL, the score and its threshold, and whether alike images are
            the reason.

    """

    settings: DetectorSettings
    numbers: CallerNumbers
    reference: Reference | None
    near: NearImages
    metrics: AlarmMetrics
    alarm: Callable[[str, int, float, float, bool], None]


class TrafficDetector:
    """Looks at batches, one after another, on one thread.

    Attributes:
        name: for settings, metrics and alarms.
        by_similarity: whether its reason is that alike images were asked.

    """

    name: ClassVar[str]
    by_similarity: ClassVar[bool] = False

    def __init__(self, context: DetectorContext) -> None:
        self.context = context

    def look(self, traffic: ObservedTraffic) -> None:
        """Look at one batch. A detector that raises is switched off until another bundle is served."""
        raise NotImplementedError

    def forget(self, caller: int) -> None:
        """That number belongs to another caller from now on."""

    def alarm(self, caller: int, score: float, threshold: float) -> None:
        """There is a reason: `caller` is a number, or ALL."""
        self.context.alarm(self.name, caller, float(score), float(threshold), self.by_similarity)


MakeDetector = Callable[[DetectorContext], TrafficDetector | None]
"""Makes a detector, or none where the bundle lacks what it needs."""
