"""Metrics of decoding: what it costs, and what was refused, ended or left."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class DecodingMetrics:
    """In one process's registry.

    Args:
        registry: where they are shown; None: nowhere.

    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._refused = Counter(
            "holdfast_decode_refused_images_total",
            "Images refused for what their decoding would cost: one alone, all of a call, or beside what waits.",
            ("limit",),
            registry=registry,
        )
        self._seconds = Counter(
            "holdfast_decode_cpu_seconds_total", "CPU seconds of decoder processes on images.", registry=registry
        )
        self._replaced = Counter(
            "holdfast_decoder_processes_replaced_total",
            "Decoder processes ended over an image: its limit of seconds, a crash, or its caller had left.",
            ("reason",),
            registry=registry,
        )
        self._abandoned = Counter(
            "holdfast_decode_abandoned_images_total", "Images whose caller left before they were decoded.", registry=registry
        )
        self.queue_seconds = Gauge(
            "holdfast_decode_queue_seconds", "Expected seconds of decoding that wait or are under way now.", registry=registry
        )
        for limit in ("image", "call", "caller", "queue", "bytes"):
            self._refused.labels(limit)
        for reason in ("limit", "crash", "abandoned"):
            self._replaced.labels(reason)

    def refused(self, limit: str, images: int) -> None:
        """So many images were refused for the limit "image", "call", "caller", "queue" or "bytes"."""
        self._refused.labels(limit).inc(images)

    def decoded(self, seconds: float) -> None:
        """A decoder process has spent CPU seconds on an image."""
        self._seconds.inc(seconds)

    def replaced(self, reason: str) -> None:
        """A decoder process was ended for "limit", "crash" or "abandoned"."""
        self._replaced.labels(reason).inc()

    def abandoned(self, images: int) -> None:
        """The caller of so many images left before they were decoded."""
        self._abandoned.inc(images)
