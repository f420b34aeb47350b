"""Metrics of probes: what they have found, what it cost, and what they did not look at."""

import threading
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

if TYPE_CHECKING:  # probes bring faiss and onnxruntime, which a worker process does without
    from holdfast.server.monitor.probes.results import Outcome
    from holdfast.server.monitor.probes.stability import Interval


class ProbeMetrics:
    """In one process's registry.

    Args:
        registry: where they are shown; None: nowhere.

    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._showing, self._shown_from = threading.Lock(), 0
        self._probes = Counter(
            "holdfast_probe_total",
            "Probes ended, by attack, radius in pixels of [0, 1], and outcome: flip, hold or error.",
            ("attack", "epsilon", "outcome"),
            registry=registry,
        )
        self._seconds = Counter("holdfast_probe_cpu_seconds_total", "CPU seconds of probes.", ("attack",), registry=registry)
        self.shed = Counter(
            "holdfast_probe_shed_total",
            "Sampled answers that were not probed: there was no room for them, or another model was served.",
            registry=registry,
        )
        self.unseen = Counter(
            "holdfast_probe_unseen_answers_total",
            "Answers that came while there was no room for a sample: flip rates say nothing of them.",
            registry=registry,
        )
        self._flip_rate = Gauge(
            "holdfast_flip_rate",
            "Share of the traffic whose answer this attack would change, estimated from sampled answers, with a 95 % interval:"
            " one minus it bounds the stability under this attack from above; it is not robust accuracy.",
            ("attack", "epsilon", "bound"),
            registry=registry,
        )

    def begin_anew(self, version: int) -> None:
        """Show no flip rate until one of this version, or of a later one, comes."""
        with self._showing:
            self._shown_from = version
            self._flip_rate.clear()

    def done(self, attack: str, epsilon: float, outcome: "Outcome", seconds: float) -> None:
        """One probe ended, after that many seconds of CPU."""
        self._probes.labels(attack, f"{epsilon:.6g}", outcome).inc()
        self._seconds.labels(attack).inc(seconds)

    def flip_rate(self, attack: str, epsilon: float, rate: "Interval", version: int) -> None:
        """The flip rate of one attack at one epsilon, of the model of that version; one of an older bundle is not shown."""
        with self._showing:  # a probe may end while another model is published
            if version < self._shown_from:
                return
            for bound, value in (("estimate", rate.estimate), ("low", rate.low), ("high", rate.high)):
                self._flip_rate.labels(attack, f"{epsilon:.6g}", bound).set(value)
