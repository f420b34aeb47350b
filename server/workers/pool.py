"""Keeps the workers alive: starts them, replaces those that end, drains them in the end."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from holdfast.errors import HoldfastError
from holdfast.server.metrics.workers import WorkerMetrics
from holdfast.server.workers.samples import Samples
from holdfast.server.workers.worker_process import WorkerProcess

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
"""Seconds between a worker's end and its replacement; doubled each time, until one has lived for a while."""
STABLE_AFTER_S = 10.0
ATTEMPTS = 3
"""So many in a row that end before they are ready are the end of the server."""


class WorkerPool:
    """Worker processes by the names "worker-0", "worker-1" and so on.

    Args:
        count: how many.
        make: a worker of that name that is not started.
        metrics: count those that are replaced.

    """

    def __init__(self, count: int, make: Callable[[str], WorkerProcess], metrics: WorkerMetrics) -> None:
        self._make, self._metrics = make, metrics
        self._names = [f"worker-{number}" for number in range(count)]
        self._processes: dict[str, WorkerProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._draining = asyncio.Event()

    @property
    def is_serving(self) -> bool:
        """Whether one of them takes calls, by its health checks. Any thread may ask."""
        return any(process.serving for process in list(self._processes.values()))

    async def start(self) -> None:
        """Start all, and wait until all are warm.

        Raises:
            HoldfastError: one of them cannot be; the message says why.

        """
        warm = [asyncio.Event() for _ in self._names]
        self._keepers = [asyncio.create_task(self._keep(*each)) for each in zip(self._names, warm, strict=True)]
        waiting = asyncio.create_task(_all(warm))
        try:
            await asyncio.wait({waiting, *self._keepers}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                await self.watch()
        finally:
            waiting.cancel()

    async def watch(self) -> None:
        """Watch over them, without end.

        Raises:
            HoldfastError: a worker ended, and its replacements did not become ready.

        """
        # Not gather, whose cancellation would be the keepers' too: they are still needed for the drain.
        ended, _ = await asyncio.wait(self._keepers, return_when=asyncio.FIRST_EXCEPTION)
        for keeper in ended:
            keeper.result()

    async def scrape(self, within: float) -> dict[str, Samples]:
        """The metrics of each worker that answers in `within` seconds, by name."""
        processes = dict(self._processes)
        samples = await asyncio.gather(*(process.scrape(within) for process in processes.values()))
        return {name: metrics for name, metrics in zip(processes, samples, strict=True) if metrics}

    async def drain(self, within: float) -> bool:
        """Let all finish their calls and end, in `within` seconds. Returns whether all calls were finished."""
        self._draining.set()
        alive = [process for process in self._processes.values() if not process.over.is_set()]
        for process in alive:
            process.drain()
        if self._keepers:
            _, late = await asyncio.wait(self._keepers, timeout=within)
            if late:
                log.error("worker processes did not end in time, and are killed")
                for process in self._processes.values():
                    process.kill()
                await asyncio.wait(late)
            for keeper in self._keepers:
                keeper.exception()  # raised already, by `watch`
        # One that never was ready had no calls to cut off.
        return all(process.finished or not process.was_ready for process in alive)

    async def _keep(self, name: str, warm: asyncio.Event) -> None:
        """One worker and all that take its place, until the server drains."""
        unready, pause = 0, FIRST_PAUSE_S
        while not self._draining.is_set():
            process = self._processes[name] = self._make(name)
            await process.start()
            if self._draining.is_set():  # since this one began
                process.drain()
            if await process.ready:
                log.info("%s takes calls, as process %d", name, process.pid)
                warm.set()
            await process.over.wait()
            end = await process.reap()
            if self._draining.is_set():
                return
            unready = 0 if process.was_ready else unready + 1
            if unready == ATTEMPTS:
                why = process.failure or f"{end}; what it said is above"
                raise HoldfastError(f"{name} ended {ATTEMPTS} times before it was ready: {why}")
            if time.monotonic() - process.began > STABLE_AFTER_S:
                pause = FIRST_PAUSE_S
            self._metrics.replaced("silent" if process.silent else "ended")
            log.warning("%s ended (%s); another takes its place in %.1f s", name, process.failure or end, pause)
            await self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._draining.wait()


async def _all(events: list[asyncio.Event]) -> None:
    for event in events:
        await event.wait()
