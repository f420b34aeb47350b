"""Engine and worker tell each other that they live: a process that is stopped, or whose loop hangs, keeps its sockets open."""

import asyncio
from collections.abc import Callable

BEATS = 5
"""Beats in the time that the other side may be silent."""


class Heartbeat:
    """One side's beats, and its ear for the other's. Belongs to one event loop.

    Silence is counted in turns of this side's loop, not by the clock: a process that was stopped itself, or got no CPU, has
    not heard the other because it did not listen.

    Args:
        patience: seconds of silence after which the other side is taken for ill.
        beat: sends one beat.
        changed: told True when the other side has been silent for that long, and False once it is heard again.

    """

    def __init__(self, patience: float, beat: Callable[[], None], changed: Callable[[bool], None]) -> None:
        self._interval, self._beat, self._changed = patience / BEATS, beat, changed
        self._missed = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_silent(self) -> bool:
        """Whether the other side has been silent for too long."""
        return self._missed >= BEATS

    def start(self) -> None:
        """Begin to beat and to listen, on the running loop."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Do neither any more."""
        if self._task is not None:
            self._task.cancel()

    def heard(self) -> None:
        """Anything came from the other side."""
        was_silent, self._missed = self.is_silent, 0
        if was_silent:
            self._changed(False)

    async def _run(self) -> None:
        while True:
            self._beat()
            await asyncio.sleep(self._interval)
            self._missed += 1
            if self._missed == BEATS:
                self._changed(True)
