"""Processes that decode what is too costly for the event loop, and the queue before them."""

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from holdfast.errors import ImageError
from holdfast.model.images.pixels import Pixels
from holdfast.server.decoding.fair_queue import FairQueue
from holdfast.server.decoding.process import DecoderConfig, DecoderProcess, describe_end
from holdfast.server.decoding.wire import DecodeTask
from holdfast.server.metrics.decoding import DecodingMetrics

log = logging.getLogger(__name__)

LONG_S = 0.05
"""Expected seconds of a long job. One process never takes a long one, so that short ones wait for this long at most."""

RESTART_S = 0.2
"""CPU seconds that a process takes to start: one whose caller has left is ended only where it would be busy for longer."""

RESTART_EVERY_S = 1.0
"""Seconds between two starts of a process in one place: who crashes it, or leaves, again and again, makes no more work."""

STALLED = 10.0
"""A process that took so many times its limit by the clock, as one that is stopped, is ended as if by its limit."""

IDLE_S = 60.0
"""Seconds without a job after which a process is ended."""

FAILED_STARTS = 3
"""In a row, after which jobs are refused for now."""

Outcomes = list[Pixels | ImageError]


class DecoderUnavailableError(Exception):
    """No process could be started to decode in; the log says why."""


@dataclass(slots=True, eq=False)
class _Job:
    """Some images of one call that are decoded one after the other."""

    tasks: Sequence[DecodeTask]
    caller: str
    seconds: float
    future: asyncio.Future[Outcomes]
    outcomes: Outcomes = field(default_factory=list)
    began: float = 0.0


@dataclass(slots=True, eq=False)
class _Slot:
    """A place for one process, which is started when there is a job for it."""

    process: DecoderProcess | None = None
    job: _Job | None = None
    worker: asyncio.Task[None] | None = None
    idle: asyncio.TimerHandle | None = None
    failed_starts: int = 0
    started: float = -RESTART_EVERY_S

    def rested(self) -> float:
        """Seconds until its process may be ended or started again; not above 0: now."""
        return self.started + RESTART_EVERY_S - time.monotonic()


class DecoderPool:
    """Runs jobs in a few processes, in turns by caller. Belongs to one event loop.

    Args:
        config: of each process.
        count: how many processes, at most.
        limit: CPU seconds that one image may take.
        metrics: of this process.

    """

    def __init__(self, config: DecoderConfig, count: int, limit: float, metrics: DecodingMetrics) -> None:
        self._config, self._limit, self._metrics = config, limit, metrics
        self._slots = [_Slot() for _ in range(count)]
        self._waiting: FairQueue[_Job] = FairQueue(lanes=2)

    @property
    def pids(self) -> list[int]:
        """Of the processes that run now."""
        return [slot.process.pid for slot in self._slots if slot.process is not None]

    def submit(self, tasks: Sequence[DecodeTask], caller: str, seconds: float) -> "asyncio.Future[Outcomes]":
        """Decode images that are expected to take so many seconds together: pixels, or what is wrong with each.

        The future raises DecoderUnavailableError. Cancelling it takes the job out of the queue, or ends the process at it.
        """
        future: asyncio.Future[Outcomes] = asyncio.get_running_loop().create_future()
        job = _Job(tasks, caller, seconds, future)
        future.add_done_callback(lambda _: self._abandon(job))
        self._waiting.push(job, caller, seconds, lane=int(seconds > LONG_S))
        for slot in self._slots:
            if slot.worker is None and self._next(slot):
                slot.worker = asyncio.create_task(self._work(slot))
                break
        return future

    def close(self) -> None:
        """End all processes at once; what they were at is not answered."""
        for slot in self._slots:
            if slot.worker is not None:
                slot.worker.cancel()
            self._discard(slot)
        while (job := self._waiting.pop()) is not None:
            job.future.cancel()

    def _next(self, slot: _Slot) -> bool:
        """Give the slot the job whose turn it is; False where there is none for it."""
        long = sum(1 for each in self._slots if each.job is not None and each.job.seconds > LONG_S)
        lanes = 1 if long >= max(1, len(self._slots) - 1) and len(self._slots) > 1 else 2
        while (job := self._waiting.pop(lanes)) is not None:
            if not job.future.done():
                slot.job = job
                return True
        return False

    async def _work(self, slot: _Slot) -> None:
        """Run jobs in this slot until none waits."""
        if slot.idle is not None:
            slot.idle.cancel()
        try:
            while slot.job is not None:
                try:
                    await self._run(slot, slot.job)
                except Exception as error:
                    log.exception("decoding failed")
                    self._discard(slot)
                    if not slot.job.future.done():
                        slot.job.future.set_exception(error)
                slot.job = None
                self._next(slot)
        finally:
            slot.worker = None
        slot.idle = asyncio.get_running_loop().call_later(IDLE_S, self._discard, slot)

    async def _run(self, slot: _Slot, job: _Job) -> None:
        """Run one job, in as many processes as its images end."""
        while len(job.outcomes) < len(job.tasks) and not job.future.done():
            process = slot.process or await self._start(slot)
            if process is not None and not job.future.done():
                try:
                    await self._decode(process, job)
                except (OSError, EOFError, TimeoutError) as error:
                    slot.process = None
                    await self._ended(slot, process, job, stalled=isinstance(error, TimeoutError))
                else:
                    slot.failed_starts = 0
            if slot.failed_starts >= FAILED_STARTS and not job.future.done():
                slot.failed_starts = 0
                job.future.set_exception(DecoderUnavailableError())
        if not job.future.done():
            job.future.set_result(job.outcomes)

    async def _decode(self, process: DecoderProcess, job: _Job) -> None:
        """Add outcomes to the job's as they come."""
        spent = 0.0
        async with aclosing(process.decode(job.tasks[len(job.outcomes) :], self._limit)) as replies:
            while len(job.outcomes) < len(job.tasks):
                job.began = time.monotonic()
                async with asyncio.timeout(STALLED * self._limit + STALLED):
                    outcome, seconds = await anext(replies)
                spent += seconds
                job.outcomes.append(outcome)
                self._metrics.decoded(seconds)
        if spent > job.seconds:
            self._waiting.charge(job.caller, spent - job.seconds)

    async def _ended(self, slot: _Slot, process: DecoderProcess, job: _Job, *, stalled: bool) -> None:
        """Find out why a process has ended, and what that says of the image that it was at."""
        status = await process.ended()
        if job.future.cancelled():
            self._metrics.replaced("abandoned")
        elif not process.ready and not stalled:
            slot.failed_starts += 1
            log.error("a decoder process did not start: %s", describe_end(status))
        elif stalled or status == -signal.SIGPROF:
            self._metrics.replaced("limit")
            self._metrics.decoded(self._limit)
            self._waiting.charge(job.caller, self._limit)
            job.outcomes.append(ImageError(job.tasks[len(job.outcomes)].field, f"takes more than {self._limit:g} s to decode"))
        else:
            self._metrics.replaced("crash")
            task = job.tasks[len(job.outcomes)]
            log.warning("a decoder process ended over an image of %d bytes: %s", len(task.data), describe_end(status))
            job.outcomes.append(ImageError(task.field, "cannot be decoded: the decoder failed on it"))

    async def _start(self, slot: _Slot) -> DecoderProcess | None:
        if (pause := slot.rested()) > 0:
            await asyncio.sleep(pause)
        slot.started = time.monotonic()
        try:
            slot.process = DecoderProcess(self._config)
        except OSError as error:  # no memory, no more processes
            slot.failed_starts += 1
            log.error("cannot start a decoder process: %s", error)  # noqa: TRY400 - the message says it all
        return slot.process

    def _abandon(self, job: _Job) -> None:
        """A job's future is done: if its caller has left, see to the process that is at it.

        It is ended now, or soon: where another was started just before, or where it will be done before another could start.
        """
        if not job.future.cancelled():
            return
        self._metrics.abandoned(len(job.tasks) - len(job.outcomes))
        slot = next((slot for slot in self._slots if slot.job is job), None)
        if slot is not None:
            left = job.seconds - (time.monotonic() - job.began)
            pause = max(slot.rested(), 0.0 if left > RESTART_S else RESTART_S)
            asyncio.get_running_loop().call_later(pause, self._end, slot, job)

    def _end(self, slot: _Slot, job: _Job) -> None:
        if slot.job is job and slot.process is not None:
            slot.process.kill()

    def _discard(self, slot: _Slot) -> None:
        if slot.process is not None:
            slot.process.discard()
            slot.process = None
