"""Calls wait here, and the engine thread takes batches from here."""

import threading
import time
from collections.abc import Callable

from holdfast.server.core.scheduling.gathering import Gathering
from holdfast.server.core.scheduling.planning import BatchPlanner
from holdfast.server.core.scheduling.prediction import Backlog
from holdfast.server.core.scheduling.queue import Call, Cut, RequestQueue
from holdfast.server.core.snapshot import ModelSnapshot


class BatchForming:
    """Forms batches of the calls that wait. The event loop puts calls in, the engine thread takes batches out.

    Args:
        most: images in one batch.
        wait: seconds that an image waits, at most, for others to share its batch.
        short: seconds that a batch may take, at most, while callers with few images or short deadlines wait for it.
        weight: of a caller, among others.
        current: the model that is served now.

    """

    def __init__(
        self, most: int, wait: float, short: float, weight: Callable[[str], float], current: Callable[[], ModelSnapshot]
    ) -> None:
        self._most, self._wait, self._current = most, wait, current
        self._queue, self._gathering, self._planner = RequestQueue(weight), Gathering(), BatchPlanner(most, short)
        self._changed = threading.Condition()
        self._stopping, self._enough = False, 0

    @property
    def images(self) -> int:
        """Images that wait."""
        return self._queue.images

    def backlog(self) -> Backlog:
        """What is ahead of a newcomer now."""
        return self._planner.backlog(self._queue)

    def put(self, call: Call) -> None:
        """Let a call wait."""
        count, queue = call.missing, self._queue
        with self._changed:
            queue.append(call)
            self._gathering.came(queue.images)
            self._planner.arrived(call.deadline - call.enqueued)
            # The engine is woken where that changes what it would do: to begin a batch, and to close one that is large enough.
            if queue.images == count or queue.images >= self._enough:
                self._changed.notify()

    def remove(self, call: Call) -> int:
        """Take a call out. Returns how many of its images were in no batch yet."""
        with self._changed:
            return self._queue.remove(call)

    def take(self) -> Cut | None:
        """Wait for a batch: no more is expected, or its oldest image waited long enough. Pins the model; None at the end."""
        queue, changed = self._queue, self._changed
        with changed:
            self._gathering.ended()
            while not queue.images:
                if self._stopping:
                    return None
                changed.wait()
            self._enough = min(self._most, self._gathering.expected())
            while 0 < queue.images < self._enough and not self._stopping:
                left = queue.since + min(self._wait, self._planner.wait(queue.images)) - time.monotonic()
                if left <= 0:
                    break
                changed.wait(left)
            if not queue.images:  # all of them were taken back meanwhile
                return Cut(self._current())
            now = time.monotonic()
            before = queue.images
            cut = queue.cut(self._planner.room(now, queue), self._current())
            self._gathering.began(before, cut.images)
            self._planner.begun(now, cut.images)
            return cut

    def answered(self) -> None:
        """The batch that was taken last has its answers, of which its callers do not know yet."""
        with self._changed:  # who knows may be back at once
            self._gathering.ended()

    def ended(self, images: int, seconds: float) -> None:
        """The batch that was taken last has ended: it was of so many images, and the next could begin after so many seconds."""
        self._planner.ended(images, seconds)

    def failed(self) -> None:
        """The batch that was taken last has failed."""
        self._planner.failed()

    def stop(self) -> None:
        """Let `take` come to the end once nothing waits any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
