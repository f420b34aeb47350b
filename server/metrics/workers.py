"""Metrics of worker processes, in the engine."""

from typing import Literal

from prometheus_client import CollectorRegistry, Counter

WorkerEnd = Literal["ended", "silent"]


class WorkerMetrics:
    """What became of workers that were replaced.

    Args:
        registry: of the engine's process.

    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._replaced = Counter(
            "holdfast_workers_replaced_total",
            "Worker processes that were replaced: they ended by themselves, or were silent and were killed.",
            ("why",),
            registry=registry,
        )
        ends: tuple[WorkerEnd, ...] = ("ended", "silent")
        for why in ends:
            self._replaced.labels(why)  # so that the series are there from the start

    def replaced(self, why: WorkerEnd) -> None:
        """One is replaced."""
        self._replaced.labels(why).inc()
