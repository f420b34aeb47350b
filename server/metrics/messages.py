"""Metrics of long messages: those that had to wait, and those that were refused."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class MessageMetrics:
    """In one process's registry.

    Args:
        registry: where they are shown; None: nowhere.

    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self.delayed = Counter(
            "holdfast_delayed_messages_total",
            "Messages that were read later, for their caller had sent more bytes than one may.",
            registry=registry,
        )
        self._refused = Counter(
            "holdfast_refused_messages_total",
            "Calls refused for their message: too many of one caller wait, or too many bytes are held, of it or of all.",
            ("limit",),
            registry=registry,
        )
        self._held = Gauge(
            "holdfast_held_message_bytes", "Bytes of long messages whose calls have not ended.", registry=registry
        )
        for limit in ("waiting", "caller", "held"):
            self._refused.labels(limit)

    def refused(self, limit: str) -> None:
        """A call was refused for the limit "waiting", "caller" or "held"."""
        self._refused.labels(limit).inc()

    def watch_held(self, held: Callable[[], int]) -> None:
        """Read what is held at each scrape."""
        self._held.set_function(held)
