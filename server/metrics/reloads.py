"""Metrics of changes of the served version."""

import time
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Info

ReloadOutcome = Literal["served", "refused", "rolled_back"]


class ReloadMetrics:
    """What became of versions that were to be served.

    Args:
        registry: of the engine's process.

    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reloads = Counter(
            "holdfast_model_reloads_total",
            "Versions that were loaded to be served, by what became of them; after refused the version before is served.",
            ("outcome",),
            registry=registry,
        )
        outcomes: tuple[ReloadOutcome, ...] = ("served", "refused", "rolled_back")
        for outcome in outcomes:
            self._reloads.labels(outcome)  # so that the series are there from the start
        self._seconds = Gauge(
            "holdfast_model_last_reload_seconds",
            "Seconds that the last reload took.",
            registry=registry,
        )
        self._time = Gauge(
            "holdfast_model_last_reload_timestamp_seconds", "When the last reload ended, seconds since 1970.", registry=registry
        )
        self._success = Gauge(
            "holdfast_model_last_reload_successful",
            "1 if the last reload was served, 0 if refused.",
            registry=registry,
        )
        self._version = Gauge(
            "holdfast_model_version",
            "Number of the served model; each reload and each change of its exemplars makes a larger one.",
            registry=registry,
        )
        self._model = Info("holdfast_model", "The version that is served.", registry=registry)
        self._success.set(1)

    def ended(self, outcome: ReloadOutcome, seconds: float) -> None:
        """One reload ended, after that many seconds."""
        self._reloads.labels(outcome).inc()
        self._seconds.set(seconds)
        self._time.set(time.time())
        self._success.set(outcome != "refused")

    def serves(self, version: int, bundle_version: str, name: str) -> None:
        """Show another model: its number, its bundle's version, and the name in the bundle's manifest."""
        self._version.set(version)
        self._model.info({"bundle_version": bundle_version, "name": name})
