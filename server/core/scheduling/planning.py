"""How large the next batch may be, and when it will be ready."""

from holdfast.server.core.request import NO_DEADLINE
from holdfast.server.core.scheduling.prediction import Backlog, BatchTimes
from holdfast.server.core.scheduling.queue import RequestQueue, Room

PATIENCE_PARTS = 4
"""A batch, and the wait for it, takes at most this part of the shortest deadline that waits: one may have to wait for two, and
for its reply."""

WORTH = 2.0
"""Times of a batch of those who wait that the wait for others is worth: larger batches cost less."""

SURELY_LATE = 0.8
"""Share of the predicted time of a batch after which it is not ready: a call whose deadline is earlier is dropped."""


class BatchPlanner:
    """Sizes batches by what batches have taken and by the deadlines of what waits.

    Whoever uses it from several threads holds a lock of their own, but for `backlog`.

    Args:
        most: images in one batch.
        short: seconds that a batch may take, at most, while callers with few images or short deadlines wait for it.

    """

    def __init__(self, most: int, short: float) -> None:
        self._most, self._short = most, short
        self._times, self._ends = BatchTimes(), 0.0
        self._per_image = self._alone = 0.0  # as Backlog has them, which is asked for twice a call
        self._patience, self._patience_before = NO_DEADLINE, NO_DEADLINE

    @property
    def shortest_patience(self) -> float:
        """Seconds that one batch, or the wait for it, may take for the deadlines that came of late."""
        return min(self._patience, self._patience_before) / PATIENCE_PARTS

    def wait(self, images: int) -> float:
        """Seconds that so many may wait for others, at most.

        About as long as a batch of them takes: whoever comes after it has begun waits no longer than they would have.
        """
        return min(self.shortest_patience, WORTH * self._times.seconds(images))

    def arrived(self, seconds: float) -> None:
        """A call came, with so many seconds until its deadline."""
        self._patience = min(self._patience, seconds)

    def room(self, now: float, queue: RequestQueue) -> Room:
        """What the next batch may hold, for those to be answered in time who wait now."""
        times, images = self._times, self._most
        patience = self.shortest_patience
        self._patience_before, self._patience = self._patience, NO_DEADLINE
        if patience < times.seconds(images):
            images = times.most_within(max(patience, self._short), images)
        shared = min(images, times.most_within(self._short, images))
        # What was slow once is not refused for ever: where nothing has waited for a batch before, everything is tried.
        ahead = times.seconds(min(images, queue.images)) if queue.left_over else 0.0
        return Room(images, shared, now + SURELY_LATE * ahead)

    def begun(self, now: float, images: int) -> None:
        """A batch of so many images begins."""
        self._ends = now + self._times.seconds(images) if images else 0.0

    def ended(self, images: int, seconds: float) -> None:
        """It took so long, until the next could begin."""
        self._ends = 0.0
        self._times.add(images, seconds)
        self._per_image, self._alone = self._times.per_image(self._most), self._times.seconds(1)

    def failed(self) -> None:
        """It failed: it runs no longer, and says nothing of how long batches take."""
        self._ends = 0.0

    def backlog(self, queue: RequestQueue) -> Backlog:
        """What is ahead of a newcomer now. Any thread may ask."""
        return Backlog(self._ends, queue.images, queue.callers, self._per_image, self._alone)
