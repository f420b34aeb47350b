"""A clock for an event loop: how long it was away from everything else, at the longest."""

import asyncio
import time
from dataclasses import dataclass

BEAT_S = 2e-3


@dataclass(frozen=True)
class Stall:
    """The longest stalls of a while, in milliseconds: of the loop's own CPU, and of time, in which others had the processor."""

    cpu: float
    wall: float


class LoopClock:
    """Beats on an event loop, and keeps the longest pause between two beats. Belongs to that loop.

    The CPU of the loop's thread says what the server does in one go; the time that passed says it with what the machine and
    the other threads of the process have added.
    """

    def __init__(self) -> None:
        self._cpu = self._wall = 0.0
        self._beating: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._beating = asyncio.create_task(self._beat())

    def stop(self) -> None:
        """End."""
        if self._beating is not None:
            self._beating.cancel()

    def take(self) -> Stall:
        """The longest stalls since the last time that they were taken."""
        stall = Stall(1e3 * self._cpu, 1e3 * self._wall)
        self._cpu = self._wall = 0.0
        return stall

    async def _beat(self) -> None:
        while True:
            cpu, wall = time.thread_time(), time.perf_counter()
            await asyncio.sleep(BEAT_S)
            self._cpu = max(self._cpu, time.thread_time() - cpu)
            self._wall = max(self._wall, time.perf_counter() - wall - BEAT_S)
