"""Metrics of traces, and of the names of requests."""

from prometheus_client import CollectorRegistry, Counter

OUTCOMES = ("made", "sent", "failed")


class TraceMetrics:
    """What became of spans.

    Args:
        registry: of a process that takes calls; None where they are not shown.

    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self.spans = Counter(
            "holdfast_trace_spans_total",
            "Spans made, sent to the collector, and given up since it did not take them; the rest waits or was dropped.",
            ("outcome",),
            registry=registry,
        )
        for outcome in OUTCOMES:
            self.spans.labels(outcome)  # so that the series are there from the start
        self.replaced_ids = Counter(
            "holdfast_request_ids_replaced_total",
            "Ids of requests that callers sent and that were not taken.",
            registry=registry,
        )
