"""Dynamic batching: images of many calls become one batch for one engine thread.

Admission happens on the event loop and is bounded: an image is counted from before it is decoded until its call has its
answer, so nothing piles up behind the count. The engine thread forms batches, runs the model (which releases the GIL) and
hands each batch's results back to the loop in one wake-up.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from bundle.preprocess import Pixels
from server.errors import DeadlineError, EngineError, QueueFullError
from server.metrics import Metrics

log = logging.getLogger(__name__)

T = TypeVar("T")
NO_DEADLINE = float("inf")


@dataclass(frozen=True)
class Limits:
    """How images are batched.

    Attributes:
        batch: most images in one batch.
        wait: seconds that an image waits, at most, for others to share its batch.
        admitted: most images between admission and answer.

    """

    batch: int
    wait: float
    admitted: int


@dataclass(slots=True, eq=False)
class _Call(Generic[T]):
    """The images of one call on their way through one or more batches."""

    future: "asyncio.Future[list[T]]"
    results: list[T]
    missing: int
    deadline: float
    enqueued: float


@dataclass(slots=True, eq=False)
class _Item(Generic[T]):
    """One image, and its place in its call."""

    call: _Call[T]
    position: int
    image: Pixels


class Batcher(Generic[T]):
    """Runs `run` on batches of uint8 [n, H, W, C]; it returns one result per image. All methods but `_work`'s are the loop's.

    An exception of `run` fails the calls of that batch with EngineError, and the next batch is served.
    """

    def __init__(self, run: Callable[[Pixels], Sequence[T]], limits: Limits, metrics: Metrics) -> None:
        self._run, self._limits, self._metrics = run, limits, metrics
        self._waiting: deque[_Item[T]] = deque()
        self._condition = threading.Condition()
        self._stopping = False
        self._admitted = 0
        self._seconds_per_image = 0.0
        self.last_success = 0.0  # time.monotonic() of the latest batch that went well: proof of life
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        metrics.watch_queue(lambda: len(self._waiting), lambda: self._admitted)

    def start(self) -> None:
        """Start the engine thread. To be called on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Let the engine finish what is queued, and end."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def alive(self) -> bool:
        """Whether the engine thread runs."""
        return self._thread.is_alive()

    def idle(self) -> bool:
        """Whether nobody waits for anything. Any thread may ask."""
        return self._admitted == 0

    @contextmanager
    def admit(self, images: int, deadline: float = NO_DEADLINE) -> Iterator[None]:
        """Hold room for a call's images, from before they are decoded until they are answered.

        Raises:
            DeadlineError: time.monotonic() has passed `deadline`.
            QueueFullError: no room; says when to try again.

        """
        if deadline <= time.monotonic():
            raise DeadlineError
        if self._admitted + images > self._limits.admitted:
            self._metrics.refused.inc(images)
            raise QueueFullError(max(0.01, self._admitted / 2 * self._seconds_per_image))
        self._admitted += images
        try:
            yield
        finally:
            self._admitted -= images

    async def submit(self, images: Sequence[Pixels], deadline: float = NO_DEADLINE) -> list[T]:
        """The results of admitted images, each uint8 [H, W, C] of the same shape, in their order.

        Raises:
            DeadlineError: the deadline passed while they waited.
            EngineError: the model failed on a batch of theirs.

        """
        if not images:
            return []
        future: asyncio.Future[list[T]] = asyncio.get_running_loop().create_future()
        call: _Call[T] = _Call(future, [None] * len(images), len(images), deadline, time.monotonic())  # type: ignore[list-item]
        with self._condition:
            self._waiting.extend(_Item(call, position, image) for position, image in enumerate(images))
            # The engine is woken where that changes what it would do: to begin a batch, and to close a full one.
            if len(self._waiting) == len(images) or len(self._waiting) >= self._limits.batch:
                self._condition.notify()
        return await future

    def _work(self) -> None:
        """The engine thread."""
        while (taken := self._take()) is not None:
            batch = self._wanted(taken)
            if not batch:
                continue
            started = time.monotonic()
            try:
                results = self._run(_stack([item.image for item in batch]))
                if len(results) != len(batch):
                    raise ValueError(f"{len(results)} results for {len(batch)} images")  # noqa: TRY301
            except Exception:  # whatever it was, it is this batch's alone
                log.exception("the model failed on a batch of %d images", len(batch))
                self._metrics.engine_failures.inc()
                self._hand_back(self._fail, [item.call for item in batch], EngineError)
            else:
                self._account(len(batch), time.monotonic() - started)
                self._hand_back(self._deliver, batch, results)

    def _take(self) -> list[_Item[T]] | None:
        """Wait for a batch: full, or its oldest image has waited long enough. None at the end."""
        limits, waiting, condition = self._limits, self._waiting, self._condition
        with condition:
            while not waiting:
                if self._stopping:
                    return None
                condition.wait()
            close_at = waiting[0].call.enqueued + limits.wait
            while len(waiting) < limits.batch and not self._stopping:
                left = close_at - time.monotonic()
                if left <= 0:
                    break
                condition.wait(left)
            return [waiting.popleft() for _ in range(min(len(waiting), limits.batch))]

    def _wanted(self, taken: list[_Item[T]]) -> list[_Item[T]]:
        """Those that somebody still waits for."""
        now = time.monotonic()
        batch: list[_Item[T]] = []
        late: list[_Call[T]] = []
        for item in taken:
            if item.call.future.done():
                self._metrics.cancelled.inc()
            elif item.call.deadline <= now:
                self._metrics.late.inc()
                late.append(item.call)
            else:
                self._metrics.queue_wait.observe(now - item.call.enqueued)
                batch.append(item)
        if late:
            self._hand_back(self._fail, late, DeadlineError)
        return batch

    def _account(self, images: int, seconds: float) -> None:
        self.last_success = time.monotonic()
        self._metrics.batch_images.observe(images)
        self._metrics.engine_seconds.observe(seconds)
        latest = seconds / images
        self._seconds_per_image += (latest - self._seconds_per_image) * (0.1 if self._seconds_per_image else 1.0)

    def _hand_back(self, function: Callable[..., None], *arguments: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    @staticmethod
    def _deliver(batch: list[_Item[T]], results: Sequence[T]) -> None:
        for item, result in zip(batch, results, strict=True):
            call = item.call
            call.results[item.position] = result
            call.missing -= 1
            if call.missing == 0 and not call.future.done():
                call.future.set_result(call.results)

    @staticmethod
    def _fail(calls: Sequence[_Call[T]], error: type[Exception]) -> None:
        for call in calls:
            if not call.future.done():
                call.future.set_exception(error())


def _stack(images: Sequence[Pixels]) -> Pixels:
    """Images of one shape as a batch.

    numpy would let go of the GIL for each copy, and wait for the event loop to give it back; joining bytes does not.
    """
    return np.frombuffer(b"".join(images), dtype=np.uint8).reshape(len(images), *images[0].shape)  # type: ignore[arg-type]
