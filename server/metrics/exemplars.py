"""Metrics of exemplars that change while they are served."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class ExemplarMetrics:
    """What is in the store and what was done to it.

    Args:
        registry: of the engine's process.

    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"holdfast_store_{name}", text, registry=registry)

        self.rows = gauge("exemplars", "Exemplars that are served.")
        self.quarantined = gauge("quarantined_exemplars", "Exemplars that wait for approval.")
        self.classes = gauge("classes", "Classes.")
        self.sequence = gauge("sequence", "Sequence of the latest change.")
        self.bytes = gauge("journal_bytes", "Bytes of the journal on disk.")
        self.unfolded = gauge("unfolded_rows", "Rows by which the served index differs from its base.")
        self.changed_share = gauge(
            "changed_share", "Exemplars changed since credibility was calibrated, for each that it was calibrated with."
        )
        self.stale = gauge("calibration_stale", "1 where so much has changed that credibility may be off.")
        self.changes = Counter("holdfast_store_changes_total", "Changes, by kind.", ("kind",), registry=registry)
        self.refused = Counter("holdfast_store_refused_total", "Changes that were refused.", ("error",), registry=registry)
        self.commit_seconds = Histogram(
            "holdfast_store_commit_seconds", "Seconds that a commit took to be durable.", buckets=SECONDS, registry=registry
        )
        self.publish_seconds = Histogram(
            "holdfast_store_publish_seconds",
            "Seconds from a durable commit to its being served.",
            buckets=SECONDS,
            registry=registry,
        )
        self.compactions = Counter(
            "holdfast_store_compactions_total", "Compactions, by what became of them.", ("outcome",), registry=registry
        )
        for outcome in ("done", "failed"):
            self.compactions.labels(outcome)
        self.recalibrations = Counter(
            "holdfast_store_recalibrations_total", "Calibrations of credibility after changes.", registry=registry
        )
