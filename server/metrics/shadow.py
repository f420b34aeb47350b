"""Metrics of the version that answers beside the served one."""

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Info

if TYPE_CHECKING:
    from holdfast.intervals import Rate


class ShadowMetrics:
    """What a shadow has answered, and how often otherwise than the served version.

    Args:
        registry: of the engine's process.

    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._images = Counter("holdfast_shadow_images_total", "Images that the shadow has answered too.", registry=registry)
        self._otherwise = Counter(
            "holdfast_shadow_disagreements_total",
            "Of these, answers that were other ones: another label, or abstaining where the served version did not, or not"
            " where it did.",
            ("what",),
            registry=registry,
        )
        self._labels, self._abstentions = self._otherwise.labels("label"), self._otherwise.labels("abstain")
        self._ratio = Gauge(
            "holdfast_shadow_disagreement_ratio",
            "Share of the labels that were other ones, of this shadow beside this served version, with a 95 % interval.",
            ("bound",),
            registry=registry,
        )
        self._seconds = Counter("holdfast_shadow_cpu_seconds_total", "CPU seconds of the shadow.", registry=registry)
        self._info = Info("holdfast_shadow", "The version that answers beside the served one.", registry=registry)

    def compared(self, images: int, labels: int, abstentions: int, seconds: float, rate: "Rate") -> None:
        """So many images were answered, so many labels and abstentions were other ones; `rate` is of all labels so far."""
        self._images.inc(images)
        self._labels.inc(labels)
        self._abstentions.inc(abstentions)
        self._seconds.inc(seconds)
        low, high = rate.interval
        for bound, value in (("estimate", rate.value), ("low", low), ("high", high)):
            self._ratio.labels(bound).set(value)

    def is_of(self, bundle_version: str, name: str) -> None:
        """Another version is the shadow now; "" for none. What was measured of the one before is not shown any more."""
        self._ratio.clear()
        self._info.info({"bundle_version": bundle_version, "name": name})
