"""Metrics of the spool: what it holds, what it leaves out, and whether it is on."""

from prometheus_client import CollectorRegistry, Counter, Gauge

OUTCOMES = ("kept", "known", "repeated", "outlier", "passed_over", "failed")


class SpoolMetrics:
    """In one process's registry. They are shown once the server has a spool.

    Args:
        registry: where they are shown.

    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._images = Counter(
            "holdfast_spool_images_total",
            "Sampled images, by what became of them: kept; known, by their content; repeated, nearly the same as an earlier"
            " one; outlier; passed_over, as the spool is full; failed, as they could not be written.",
            ("outcome",),
            registry=registry,
        )
        self._by_outcome = {outcome: self._images.labels(outcome) for outcome in OUTCOMES}
        self.bytes = Gauge("holdfast_spool_bytes", "Bytes of the images in the spool.", registry=registry)
        self.on = Gauge(
            "holdfast_spool_on",
            "1 while images are kept, 0 once one could not be written, as on a full disk.",
            registry=registry,
        )

    def count(self, outcome: str, images: int = 1) -> None:
        """So many images came to this end, one of OUTCOMES."""
        self._by_outcome[outcome].inc(images)
