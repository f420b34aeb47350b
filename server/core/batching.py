"""Dynamic batching: images of many calls become one batch for one engine thread.

Admission happens on the event loop and is bounded: an image is counted from before it is decoded until its reply is written,
so nothing piles up behind the count. The engine thread forms batches, takes the model that is current at that moment, runs it
(which releases the GIL) and hands each batch's results back to the loop. Where the model runs on a device, what is left for the
CPU to do with a batch is done by other threads, while the device has the next batch already.

What nobody waits for any more is dropped wherever it is found: in the queue, where a batch is formed, and between its halves.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.errors import RetrieverUnavailableError
from holdfast.model.classifier import Retrieval
from holdfast.model.preprocess import Pixels
from holdfast.server.core.delivery import Delivery
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.errors import DeadlineError, EngineError, IndexUnavailableError
from holdfast.server.core.observers import Observers
from holdfast.server.core.request import LABELS, NO_DEADLINE, BatchSlice, Images, Want
from holdfast.server.core.result import AnsweredBatch
from holdfast.server.core.scheduling.admission import Admission, AdmissionLimits, Demand, Permit
from holdfast.server.core.scheduling.forming import BatchForming
from holdfast.server.core.scheduling.prediction import Backlog
from holdfast.server.core.scheduling.queue import Call, Cut, Piece, equal_weight, stack
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
        admission: what is taken.
        short: seconds that a batch may take, at most, while callers with few images or short deadlines wait for it.
        weight: of a caller, among others.

    """

    batch: int
    wait: float
    admission: AdmissionLimits
    short: float = 0.02
    weight: Callable[[str], float] = equal_weight


@dataclass(slots=True, eq=False)
class _RetrievedBatch:
    """A batch of which the first half is done; when it was begun, on time.monotonic()'s clock, and the seconds that took."""

    model: ModelSnapshot
    pieces: list[Piece]
    images: Pixels
    retrieval: Retrieval
    begun: float
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
        self._forming = BatchForming(limits.batch, limits.wait, limits.short, limits.weight, current)
        self.admission = Admission(limits.admission, metrics, self.backlog)
        self.last_success = 0.0  # time.monotonic() of the latest batch that went well: proof of life
        self.last_batch = 0.0  # and of the latest that was embedded or failed: the model does not hang
        self._delivery = Delivery(metrics)
        self._threads = [threading.Thread(target=self._run, name="engine", daemon=True)]
        self._retrieved: queue.Queue[_RetrievedBatch | None] = queue.Queue(maxsize=1)
        self._finishers = finishers
        self._threads += [threading.Thread(target=self._finish, name="engine-cpu", daemon=True) for _ in range(finishers)]
        metrics.watch_queue(lambda: self._forming.images)
        metrics.watch_admission(lambda: self.admission.admitted, lambda: self.admission.reply_bytes)

    def start(self) -> None:
        """Start the engine. To be called on the event loop that will submit."""
        self._delivery.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> bool:
        """Let the engine finish what is queued, and end. Returns whether it has: a model that hangs is not waited for."""
        self._forming.stop()
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

    def backlog(self) -> Backlog:
        """What is ahead of a newcomer now."""
        return self._forming.backlog()

    def admit(self, demand: Demand) -> Permit:
        """Hold room for a call, from before its images are decoded until its reply is written. Raises as Admission does."""
        return self.admission.take(demand)

    async def submit(
        self, images: Images, deadline: float = NO_DEADLINE, want: Want = LABELS, caller: str = ""
    ) -> list[BatchSlice]:
        """The results of admitted images, in their order, as slices of the batches they were in.

        Raises:
            DeadlineError: the deadline passed while they waited, or would have before they could be answered.
            EngineError: the model failed on a batch of theirs.
            IndexUnavailableError: the index did not answer.

        """
        if not len(images):
            return []
        call = self.enqueue(images, deadline, want, caller)
        try:
            return await call.future
        except asyncio.CancelledError:
            self.abandon(call)
            raise

    def enqueue(self, images: Images, deadline: float = NO_DEADLINE, want: Want = LABELS, caller: str = "") -> Call:
        """The same, of at least one image, as a call, whose future it is that will have the results."""
        future: asyncio.Future[list[BatchSlice]] = asyncio.get_running_loop().create_future()
        count, now = len(images), time.monotonic()
        call = Call(future, images, deadline, want, caller, now, count)
        self._forming.put(call)
        return call

    def abandon(self, call: Call) -> None:
        """Take a call out of the queue, for nobody waits for it any more; what is in a batch already is not handed out."""
        call.future.cancel()
        if left := self._forming.remove(call):
            self._metrics.cancelled.inc(left)

    def _run(self) -> None:
        """The engine thread."""
        while self._run_next():
            pass
        for _ in range(self._finishers):
            self._retrieved.put(None)

    # A batch is the matter of one call of a function, so that a thread that waits for the next one keeps no model alive.
    def _run_next(self) -> bool:
        cut = self._forming.take()
        if cut is None:
            return False
        try:
            self._answer(cut)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is this batch's alone
            self._forming.failed()
            self._failed(cut.pieces, error)
        return True

    def _answer(self, cut: Cut) -> None:
        begun = time.monotonic()
        self._count_cut(cut, begun)
        if not cut.pieces:
            return
        images = stack(cut.pieces)
        retrieval = cut.model.retrieve(images)
        batch = _RetrievedBatch(cut.model, cut.pieces, images, retrieval, begun, time.monotonic() - begun)
        if self._finishers:
            self._retrieved.put(batch)
        else:
            self._complete(batch)
        # Of a device that is what it took, and what it had to wait for others.
        self._forming.ended(cut.images, time.monotonic() - begun)

    def _finish(self) -> None:
        """A thread that finishes what the engine thread began."""
        while self._finish_next():
            pass

    def _finish_next(self) -> bool:
        batch = self._retrieved.get()
        if batch is None:
            return False
        try:
            self._complete(batch)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(batch.pieces, error)
        return True

    def _complete(self, batch: _RetrievedBatch) -> None:
        started, embedded = time.monotonic(), sum([piece.count for piece in batch.pieces])
        self.last_batch = started
        pieces, rows = self._delivery.keep_wanted(batch.pieces)
        if rows is not None:
            if not pieces:
                return
            batch.images, batch.retrieval = batch.images[rows], batch.retrieval.take(rows)
        count = embedded if rows is None else len(rows)
        results = _decided(batch.model, batch.retrieval, pieces)
        if len(results) != count:
            raise ValueError(f"{len(results)} results for {count} images")
        self.last_success = time.monotonic()
        self._metrics.batch_images.observe(embedded)
        seconds = batch.seconds + self.last_success - started
        self._metrics.engine_seconds.observe(seconds)
        self._forming.answered()
        self._delivery.results(pieces, results, (batch.begun, seconds))
        self._observers.answered(batch.model, batch.images, pieces, results)

    def _failed(self, pieces: list[Piece], error: Exception) -> None:
        self.last_batch = time.monotonic()
        self._metrics.engine_failures.inc()
        calls = [piece.call for piece in pieces]
        if isinstance(error, RetrieverUnavailableError):
            self._delivery.errors(calls, IndexUnavailableError)  # the index has logged it, once and not for every batch
            return
        log.error("the model failed on a batch of %d images", sum([piece.count for piece in pieces]), exc_info=error)
        self._delivery.errors(calls, EngineError)

    def _count_cut(self, cut: Cut, now: float) -> None:
        """Count what waited how long, and what of it is dropped."""
        for piece in cut.pieces:
            self._metrics.queue_wait.observe(now - piece.call.enqueued, piece.count)
        self._metrics.cancelled.inc(sum(call.left for call in cut.gone))
        if cut.late:
            self._metrics.late.inc(sum(call.left for call in cut.late))
            self._metrics.unwanted("late").inc(sum(len(call.images) - call.missing for call in cut.late))
            self._delivery.errors(cut.late, DeadlineError)


def _decided(model: ModelSnapshot, retrieval: Retrieval, pieces: Sequence[Piece]) -> AnsweredBatch:
    """The answers of a batch, with certificates for the calls that want them: others do not pay for these."""
    wants = [piece.call.want.certificates for piece in pieces]
    if not any(wants):
        return model.decide(retrieval)
    wanted = np.repeat(wants, [piece.count for piece in pieces])
    return model.decide(retrieval, np.flatnonzero(wanted))
