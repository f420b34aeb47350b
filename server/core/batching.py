"""Dynamic batching: images of many calls become one batch for one engine thread.

Admission happens on the event loop and is bounded: an image is counted from before it is decoded until its call has its
answer, so nothing piles up behind the count. The engine thread forms batches, runs the model (which releases the GIL) and
hands each batch's results back to the loop in one wake-up. Where the model runs on a device, what is left for the CPU to do
with a batch is done by other threads, while the device has the next batch already.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sized
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from holdfast.model.preprocess import Pixels
from holdfast.server.core.admission import Admission
from holdfast.server.core.errors import DeadlineError, EngineError
from holdfast.server.core.queue import Call, Piece, RequestQueue, deliver, fail, stack
from holdfast.server.core.request import LABELS, NO_DEADLINE, BatchSlice, Images, Wanted
from holdfast.server.monitor.metrics import Metrics

log = logging.getLogger(__name__)

F = TypeVar("F")
B = TypeVar("B", bound=Sized)


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
class _Half(Generic[F, B]):
    """A batch of which the first half is done: what came of it, and how many seconds that took."""

    pieces: list[Piece[B]]
    found: F
    seconds: float


class Batcher(Generic[F, B]):
    """Runs `run` and then `finish` on batches of uint8 [n, H, W, C]; n results come out. All public methods are the loop's.

    Both run on the engine thread, or, where there are `finishers`, `finish` runs on so many threads of its own, each of which
    may be a batch behind. An exception of either fails the calls of that batch with EngineError, and the next batch is served.
    """

    def __init__(
        self,
        run: Callable[[Pixels], F],
        finish: Callable[[F], B],
        limits: Limits,
        metrics: Metrics,
        *,
        finishers: int = 0,
    ) -> None:
        self._run, self._finish, self._limits, self._metrics = run, finish, limits, metrics
        self._waiting: RequestQueue[B] = RequestQueue()
        self._condition = threading.Condition()
        self._stopping = False
        self._seconds_per_image = 0.0
        self.admission = Admission(limits.admitted, metrics, self.pause)
        self.last_success = 0.0  # time.monotonic() of the latest batch that went well: proof of life
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [threading.Thread(target=self._work, name="engine", daemon=True)]
        self._halves: queue.Queue[_Half[F, B] | None] = queue.Queue(maxsize=1)
        self._finishers = finishers
        self._threads += [threading.Thread(target=self._end, name="engine-cpu", daemon=True) for _ in range(finishers)]
        metrics.watch_queue(lambda: self._waiting.images)
        metrics.watch_admission(lambda: self.admission.admitted)

    def start(self) -> None:
        """Start the engine. To be called on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the engine finish what is queued, and end."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def alive(self) -> bool:
        """Whether the engine runs."""
        return all(thread.is_alive() for thread in self._threads)

    def idle(self) -> bool:
        """Whether nobody waits for anything. Any thread may ask."""
        return self.admission.admitted == 0

    def pause(self) -> float:
        """Seconds in which half of what is admitted will have been answered."""
        return self.admission.admitted / 2 * self._seconds_per_image

    def admit(self, images: int, deadline: float = NO_DEADLINE) -> AbstractContextManager[None]:
        """Hold room for a call's images, from before they are decoded until they are answered. Raises as Admission does."""
        return self.admission.hold(images, deadline)

    async def submit(self, images: Images, deadline: float = NO_DEADLINE, wanted: Wanted = LABELS) -> list[BatchSlice[B]]:
        """The results of admitted images, in their order, as shares of the batches they were in.

        Raises:
            DeadlineError: the deadline passed while they waited.
            EngineError: the model failed on a batch of theirs.

        """
        del wanted  # a batch of this process has everything in it
        return await self.enqueue(images, deadline) if len(images) else []

    def enqueue(self, images: Images, deadline: float = NO_DEADLINE) -> "asyncio.Future[list[BatchSlice[B]]]":
        """The same, of at least one image, as a future; cancelling it takes the images out of the queue."""
        future: asyncio.Future[list[BatchSlice[B]]] = asyncio.get_running_loop().create_future()
        count = len(images)
        call: Call[B] = Call(future, images, deadline, time.monotonic(), count)
        with self._condition:
            self._waiting.append(call)
            # The engine is woken where that changes what it would do: to begin a batch, and to close a full one.
            if self._waiting.images == count or self._waiting.images >= self._limits.batch:
                self._condition.notify()
        return future

    def _work(self) -> None:
        """The engine thread."""
        while (taken := self._take()) is not None:
            pieces = self._wanted(taken)
            if not pieces:
                continue
            started = time.monotonic()
            try:
                found = self._run(stack(pieces))
            except Exception as error:  # noqa: BLE001 - whatever it was, it is this batch's alone
                self._failed(pieces, error)
                continue
            half = _Half(pieces, found, time.monotonic() - started)
            if self._finishers:
                self._halves.put(half)
            else:
                self._complete(half)
        for _ in range(self._finishers):
            self._halves.put(None)

    def _end(self) -> None:
        """A thread that finishes what the engine thread began."""
        while (half := self._halves.get()) is not None:
            self._complete(half)

    def _complete(self, half: _Half[F, B]) -> None:
        started, count = time.monotonic(), sum([piece.count for piece in half.pieces])
        try:
            results = self._finish(half.found)
            if len(results) != count:
                raise ValueError(f"{len(results)} results for {count} images")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(half.pieces, error)
        else:
            self._account(count, half.seconds + time.monotonic() - started)
            self._hand_back(deliver, half.pieces, results)

    def _failed(self, pieces: list[Piece[B]], error: Exception) -> None:
        log.error("the model failed on a batch of %d images", sum([piece.count for piece in pieces]), exc_info=error)
        self._metrics.engine_failures.inc()
        self._hand_back(fail, [piece.call for piece in pieces], EngineError)

    def _take(self) -> list[Piece[B]] | None:
        """Wait for a batch: full, or its oldest image has waited long enough. None at the end."""
        limits, waiting, condition = self._limits, self._waiting, self._condition
        with condition:
            while not waiting.images:
                if self._stopping:
                    return None
                condition.wait()
            close_at = waiting.since + limits.wait
            while waiting.images < limits.batch and not self._stopping:
                left = close_at - time.monotonic()
                if left <= 0:
                    break
                condition.wait(left)
            return waiting.cut(limits.batch)

    def _wanted(self, taken: list[Piece[B]]) -> list[Piece[B]]:
        """Those that somebody still waits for."""
        now = time.monotonic()
        wanted: list[Piece[B]] = []
        late: list[Call[B]] = []
        for piece in taken:
            call = piece.call
            if call.future.done():
                self._metrics.cancelled.inc(piece.count)
            elif call.deadline <= now:
                self._metrics.late.inc(piece.count)
                late.append(call)
            else:
                self._metrics.queue_wait.observe(now - call.enqueued, piece.count)
                wanted.append(piece)
        if late:
            self._hand_back(fail, late, DeadlineError)
        return wanted

    def _account(self, images: int, seconds: float) -> None:
        self.last_success = time.monotonic()
        self._metrics.batch_images.observe(images)
        self._metrics.engine_seconds.observe(seconds)
        latest = seconds / images
        self._seconds_per_image += (latest - self._seconds_per_image) * (0.1 if self._seconds_per_image else 1.0)

    def _hand_back(self, function: Callable[..., None], *arguments: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)
