"""Dynamic batching: images of many calls become one batch for one engine thread.

Admission happens on the event loop and is bounded: an image is counted from before it is decoded until its call has its
answer, so nothing piles up behind the count. The engine thread forms batches, takes the model that is current at that moment,
runs it (which releases the GIL) and hands each batch's results back to the loop in one wake-up. Where the model runs on a
device, what is left for the CPU to do with a batch is done by other threads, while the device has the next batch already.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from holdfast.errors import RetrieverUnavailableError
from holdfast.model.classifier import Retrieval
from holdfast.model.preprocess import Pixels
from holdfast.server.core.admission import Admission
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.errors import DeadlineError, EngineError, IndexUnavailableError
from holdfast.server.core.observers import Observers
from holdfast.server.core.queue import Call, Piece, RequestQueue, deliver, fail, stack
from holdfast.server.core.request import LABELS, NO_DEADLINE, BatchSlice, Images, Want
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.metrics import Metrics

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 2.0
"""Seconds that the engine gets to end once no call waits for it."""


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
class _RetrievedBatch:
    """A batch of which the first half is done, which took so many seconds."""

    model: ModelSnapshot
    pieces: list[Piece]
    images: Pixels
    retrieval: Retrieval
    seconds: float


class Batcher:
    """Runs the current model on batches of uint8 [n, H, W, C]. All public methods are the loop's.

    Both halves of a batch, `retrieve` and `decide`, run on the engine thread, or, where there are `finishers`, `decide` runs on
    so many threads of its own, each of which may be a batch behind. An exception of either fails the calls of that batch with
    EngineError, or with IndexUnavailableError where an index on another machine does not answer, and the next batch is served.
    One call is answered by one model, also where it is in several batches.
    """

    def __init__(
        self,
        current: Callable[[], ModelSnapshot],
        limits: Limits,
        metrics: Metrics,
        observers: Observers,
        *,
        finishers: int = 0,
    ) -> None:
        self._current, self._limits, self._metrics, self._observers = current, limits, metrics, observers
        self._waiting = RequestQueue()
        self._condition = threading.Condition()
        self._stopping = False
        self._seconds_per_image = 0.0
        self.admission = Admission(limits.admitted, metrics, self.pause)
        self.last_success = 0.0  # time.monotonic() of the latest batch that went well: proof of life
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [threading.Thread(target=self._run, name="engine", daemon=True)]
        self._retrieved: queue.Queue[_RetrievedBatch | None] = queue.Queue(maxsize=1)
        self._finishers = finishers
        self._threads += [threading.Thread(target=self._finish, name="engine-cpu", daemon=True) for _ in range(finishers)]
        metrics.watch_queue(lambda: self._waiting.images)
        metrics.watch_admission(lambda: self.admission.admitted)

    def start(self) -> None:
        """Start the engine. To be called on the event loop that will submit."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def stop(self) -> bool:
        """Let the engine finish what is queued, and end. Returns whether it has: a model that hangs is not waited for."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        give_up = time.monotonic() + STOP_TIMEOUT_S
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, give_up - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def description(self) -> ModelDescription:
        """The model that is served now."""
        return self._current().description

    def alive(self) -> bool:
        """Whether the engine runs."""
        return all(thread.is_alive() for thread in self._threads)

    def idle(self) -> bool:
        """Whether no image is under way. Any thread may call it."""
        return self.admission.admitted == 0

    def pause(self) -> float:
        """Seconds in which half of what is admitted will have been answered."""
        return self.admission.admitted / 2 * self._seconds_per_image

    def admit(self, images: int, deadline: float = NO_DEADLINE) -> AbstractContextManager[None]:
        """Hold room for a call's images, from before they are decoded until they are answered. Raises as Admission does."""
        return self.admission.hold(images, deadline)

    async def submit(
        self, images: Images, deadline: float = NO_DEADLINE, want: Want = LABELS, caller: str = ""
    ) -> list[BatchSlice]:
        """The results of admitted images, in their order, as slices of the batches they were in.

        Raises:
            DeadlineError: the deadline passed while they waited.
            EngineError: the model failed on a batch of theirs.
            IndexUnavailableError: the index did not answer.

        """
        return await self.enqueue(images, deadline, want, caller) if len(images) else []

    def enqueue(
        self, images: Images, deadline: float = NO_DEADLINE, want: Want = LABELS, caller: str = ""
    ) -> "asyncio.Future[list[BatchSlice]]":
        """The same, of at least one image, as a future; cancelling it takes the images out of the queue."""
        future: asyncio.Future[list[BatchSlice]] = asyncio.get_running_loop().create_future()
        count = len(images)
        call = Call(future, images, deadline, want, caller, time.monotonic(), count)
        with self._condition:
            self._waiting.append(call)
            # The engine is woken where that changes what it would do: to begin a batch, and to close a full one.
            if self._waiting.images == count or self._waiting.images >= self._limits.batch:
                self._condition.notify()
        return future

    def _run(self) -> None:
        """The engine thread."""
        while self._run_next():
            pass
        for _ in range(self._finishers):
            self._retrieved.put(None)

    # A batch is the matter of one call of a function, so that a thread that waits for the next one keeps no model alive.
    def _run_next(self) -> bool:
        taken = self._take()
        if taken is None:
            return False
        model, pieces = taken
        pieces = self._wanted(pieces)
        if not pieces:
            return True
        started = time.monotonic()
        try:
            images = stack(pieces)
            retrieval = model.retrieve(images)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is this batch's alone
            self._failed(pieces, error)
            return True
        batch = _RetrievedBatch(model, pieces, images, retrieval, time.monotonic() - started)
        if self._finishers:
            self._retrieved.put(batch)
        else:
            self._complete(batch)
        return True

    def _finish(self) -> None:
        """A thread that finishes what the engine thread began."""
        while self._finish_next():
            pass

    def _finish_next(self) -> bool:
        batch = self._retrieved.get()
        if batch is None:
            return False
        self._complete(batch)
        return True

    def _complete(self, batch: _RetrievedBatch) -> None:
        started, pieces = time.monotonic(), batch.pieces
        count = sum([piece.count for piece in pieces])
        try:
            results = batch.model.decide(batch.retrieval)
            if len(results) != count:
                raise ValueError(f"{len(results)} results for {count} images")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(pieces, error)
            return
        self._account(count, batch.seconds + time.monotonic() - started)
        self._hand_back(deliver, pieces, results)
        self._observers.answered(batch.model, batch.images, pieces, results)

    def _failed(self, pieces: list[Piece], error: Exception) -> None:
        self._metrics.engine_failures.inc()
        calls = [piece.call for piece in pieces]
        if isinstance(error, RetrieverUnavailableError):
            self._hand_back(fail, calls, IndexUnavailableError)  # the index has logged it, once and not for every batch
            return
        log.error("the model failed on a batch of %d images", sum([piece.count for piece in pieces]), exc_info=error)
        self._hand_back(fail, calls, EngineError)

    def _take(self) -> tuple[ModelSnapshot, list[Piece]] | None:
        """Wait for a batch: full, or its oldest image has waited long enough. Pins the model. None at the end."""
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
            return waiting.cut(limits.batch, self._current())

    def _wanted(self, taken: list[Piece]) -> list[Piece]:
        """Those whose callers still wait."""
        now = time.monotonic()
        wanted: list[Piece] = []
        late: list[Call] = []
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
