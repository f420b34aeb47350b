"""Metrics of detectors and alarms. Callers are hashed, and no more than the top few have a series of their own."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

SHOWN_CALLERS = 10
"""Callers whose coverage is shown, those of the largest."""


class AlarmMetrics:
    """Of the process that runs the detectors.

    Args:
        registry: of that process.

    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self._alarms = counter(
            "holdfast_alarms_total",
            "Alarms that began, by detector, and whether one caller is meant or all together.",
            ("detector", "scope"),
        )
        self._similarity = counter(
            "holdfast_query_similarity_alarm_total",
            "Alarms that began because many alike but not identical images were asked, of whichever detector.",
            ("scope",),
        )
        self._coverage = Gauge(
            "holdfast_extraction_coverage_ratio",
            "Share of where the bundle's held-out images lie that one caller has asked about, 0 to 1; of the callers with the"
            " most, by hash.",
            ("caller",),
            registry=registry,
        )
        self._off = Gauge(
            "holdfast_detector_off", "1 for a detector that failed and is switched off.", ("detector",), registry=registry
        )
        self._cpu = counter("holdfast_detector_cpu_seconds_total", "CPU seconds of the detectors.")
        self._images = counter("holdfast_detector_images_total", "Images that the detectors have looked at.")
        self._forgotten = counter(
            "holdfast_detector_callers_forgotten_total", "Callers that detectors forgot for want of room, to watch others."
        )
        self._sent = counter(
            "holdfast_alarm_webhook_total", "Alarms for the webhook: sent, failed after all tries, or dropped.", ("outcome",)
        )
        self._unlogged = counter("holdfast_alarms_not_logged_total", "Alarms that were too many in a minute to be logged.")
        self._throttled = counter("holdfast_throttled_callers_total", "How often a caller's weight was lowered by an alarm.")
        for outcome in ("sent", "failed", "dropped"):
            self._sent.labels(outcome)

    def began(self, detector: str, *, of_one_caller: bool, by_similarity: bool) -> None:
        """A new alarm."""
        scope = "caller" if of_one_caller else "all"
        self._alarms.labels(detector, scope).inc()
        if by_similarity:
            self._similarity.labels(scope).inc()

    def switched_on(self, detectors: Iterable[str]) -> None:
        """These detectors work, as far as the bundle lets them."""
        for name in detectors:
            self._off.labels(name).set(0)

    def switched_off(self, detector: str) -> None:
        """A detector has failed."""
        self._off.labels(detector).set(1)

    def worked(self, images: int, seconds: float) -> None:
        """Detectors have looked at so many images, for so many seconds of CPU."""
        self._images.inc(images)
        self._cpu.inc(seconds)

    def forgot(self, callers: int) -> None:
        """So many callers had to make room."""
        self._forgotten.inc(callers)

    def not_logged(self) -> None:
        """One alarm was counted and not logged."""
        self._unlogged.inc()

    def webhook(self, outcome: str) -> None:
        """One alarm was "sent", "failed" or "dropped"."""
        self._sent.labels(outcome).inc()

    def throttled(self) -> None:
        """A caller has less weight from now on."""
        self._throttled.inc()

    def coverage(self, callers: dict[str, float]) -> None:
        """Shares by hash; the largest are shown and no others."""
        self._coverage.clear()
        for caller in sorted(callers, key=lambda name: -callers[name])[:SHOWN_CALLERS]:
            self._coverage.labels(caller).set(callers[caller])
