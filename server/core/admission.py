"""What is taken and what is refused: a bound on the images under way, and the end of all that at a drain."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from holdfast.server.core.errors import DeadlineError, DrainingError, QueueFullError
from holdfast.server.core.request import NO_DEADLINE
from holdfast.server.metrics.metrics import Metrics


class Admission:
    """Counts images from their admission to their answer, and refuses what is too much. Belongs to one event loop.

    Args:
        most: images admitted and not yet answered, at most.
        metrics: counts what is refused.
        pause: seconds after which a refused caller may try again.

    """

    def __init__(self, most: int, metrics: Metrics, pause: Callable[[], float]) -> None:
        self._most, self._metrics, self._pause = most, metrics, pause
        self.admitted = 0

    def take(self, images: int, deadline: float = NO_DEADLINE) -> None:
        """Count images in; whoever did counts them out by `give_back`.

        Raises:
            DeadlineError: time.monotonic() has passed `deadline`.
            QueueFullError: no room; says when to try again.

        """
        if deadline <= time.monotonic():
            raise DeadlineError
        if self.admitted + images > self._most:
            self._metrics.refused.inc(images)
            raise QueueFullError(max(0.01, self._pause()))
        self.admitted += images

    def give_back(self, images: int) -> None:
        """Count images out: they are answered, or their caller has left."""
        self.admitted -= images

    @contextmanager
    def hold(self, images: int, deadline: float = NO_DEADLINE) -> Iterator[None]:
        """Take, and give back in the end. Raises as `take` does."""
        self.take(images, deadline)
        try:
            yield
        finally:
            self.give_back(images)


class Drain:
    """Counts the calls in flight, and refuses new ones once it has begun. Belongs to one event loop."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._in_flight = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def enter(self) -> None:
        """Count one call that begins. Raises DrainingError once the drain has begun."""
        if self.begun.is_set():
            raise DrainingError
        self._in_flight += 1
        self._empty.clear()

    def leave(self) -> None:
        """Count one call that has ended, however it did."""
        self._in_flight -= 1
        if self._in_flight == 0:
            self._empty.set()

    async def finished(self, grace: float) -> bool:
        """Begin, and wait at most `grace` seconds for the calls in flight. Returns whether all have ended."""
        self.begun.set()
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
