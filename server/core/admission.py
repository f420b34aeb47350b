"""A bound on what is in the house."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from holdfast.server.core.errors import DeadlineError, QueueFullError
from holdfast.server.core.request import NO_DEADLINE
from holdfast.server.monitor.metrics import Metrics


class Admission:
    """Counts images from their admission to their answer, and refuses what is too much. Belongs to one event loop.

    Args:
        most: images admitted and not yet answered, at most.
        metrics: counts what is refused.
        pause: seconds after which who is refused may try again.

    """

    def __init__(self, most: int, metrics: Metrics, pause: Callable[[], float]) -> None:
        self._most, self._metrics, self._pause = most, metrics, pause
        self.admitted = 0

    def take(self, images: int, deadline: float = NO_DEADLINE) -> None:
        """Let images in; whoever did gives their room back.

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
        """They are answered, or nobody waits for them any more."""
        self.admitted -= images

    @contextmanager
    def hold(self, images: int, deadline: float = NO_DEADLINE) -> Iterator[None]:
        """Take, and give back in the end. Raises as `take` does."""
        self.take(images, deadline)
        try:
            yield
        finally:
            self.give_back(images)
