"""Metrics of several processes at one endpoint: every series has a label `process`.

prometheus_client's own multi-process mode loses custom collectors and never reaps its files; asking is simpler.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

SCRAPE_TIMEOUT_S = 1.0
"""Seconds that the processes have to send their metrics; one that does not is left out of that scrape."""

Samples = list[list[Any]]
"""Metrics as JSON: name, type, help, and samples of name, labels and value."""


def samples_of(registry: CollectorRegistry) -> Samples:
    """All metrics of this process."""
    return [
        [metric.name, metric.type, metric.documentation, [[s.name, s.labels, s.value] for s in metric.samples]]
        for metric in registry.collect()
    ]


class EveryProcess(Collector):
    """Shows the metrics of this process, named "engine", and of those that are asked for theirs at each scrape.

    Args:
        own: this process's metrics.
        ask: returns the others', by name of the process; runs on `loop`.
        loop: that of the server; scrapes come on threads of their own.

    """

    def __init__(
        self, own: CollectorRegistry, ask: Callable[[float], Awaitable[dict[str, Samples]]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._own, self._ask, self._loop = own, ask, loop

    def collect(self) -> Iterator[Metric]:
        """One family for each name, with the samples of all processes."""
        families: dict[str, Metric] = {}
        for process, samples in {"engine": samples_of(self._own), **self._others()}.items():
            _add(families, process, samples)
        yield from families.values()

    def _others(self) -> dict[str, Samples]:
        async def ask() -> dict[str, Samples]:
            return await self._ask(SCRAPE_TIMEOUT_S)

        try:
            return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(2 * SCRAPE_TIMEOUT_S)
        except (TimeoutError, CancelledError, RuntimeError):
            log.warning("a scrape has the engine's metrics alone: the workers did not send theirs")
            return {}


def _add(families: dict[str, Metric], process: str, metrics: Samples) -> None:
    for name, kind, text, samples in metrics:
        family = families.setdefault(name, Metric(name, text, kind))
        for sample, labels, value in samples:
            family.add_sample(sample, {**labels, "process": process}, value)
