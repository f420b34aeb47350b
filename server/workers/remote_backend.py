"""What a worker has in the place of a batcher: the engine, over the data link."""

import asyncio
import socket
import time
from collections.abc import Callable
from itertools import count

from holdfast.server.core.description import ModelDescription
from holdfast.server.core.errors import EngineGoneError, EngineSilentError
from holdfast.server.core.request import LABELS, NO_DEADLINE, BatchSlice, Images, Want
from holdfast.server.core.scheduling.admission import Admission, AdmissionLimits, Demand, Permit
from holdfast.server.core.scheduling.prediction import Backlog
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.workers.frames import MOST_FRAME_BYTES, Link
from holdfast.server.workers.known_models import KnownModels
from holdfast.server.workers.messages import decode_reply, encode_cancel, encode_request


class RemoteBackend:
    """A core.request.InferenceBackend whose model runs in another process.

    Args:
        limits: what this worker takes. The engine holds all workers together to the same.
        metrics: of this process.
        lost: called when the engine is gone.

    """

    def __init__(self, limits: AdmissionLimits, metrics: Metrics, lost: Callable[[], None]) -> None:
        self._call_lost = lost
        self._admission = Admission(limits, metrics, self._current_backlog)
        self._backlog, self._sent, self._engine_is_silent = Backlog(), 0, False
        self._numbers = count()
        self._open: dict[int, asyncio.Future[BatchSlice]] = {}
        self._models, self._described = KnownModels(), asyncio.Event()
        self._link = Link("the data link to the engine", MOST_FRAME_BYTES, self._receive, self._lost)
        self.last_success = 0.0
        metrics.watch_admission(lambda: self._admission.admitted, lambda: self._admission.reply_bytes)

    async def open(self, end: socket.socket) -> None:
        """Begin, on the loop that will submit, and wait for the first model. `end` is this one's from now on.

        Raises:
            EngineGoneError: the link ended before the engine had described a model.

        """
        await self._link.open(end)
        await self._described.wait()
        if not self._models:
            raise EngineGoneError

    def close(self) -> None:
        """End the link."""
        self._link.close()

    @property
    def description(self) -> ModelDescription:
        """The latest model that the engine has described."""
        return self._models.latest

    def alive(self) -> bool:
        """Whether the engine process is there, and not silent."""
        return self._link.is_open and not self._engine_is_silent

    def engine_silence(self, silent: bool) -> None:
        """The engine is stopped or hangs, or goes on: while it is silent every call fails at once, those under way too."""
        self._engine_is_silent = silent
        if silent:
            self._fail(EngineSilentError())

    def idle(self) -> bool:
        """Whether no image is under way. Any thread may call it."""
        return self._admission.admitted == 0

    def admit(self, demand: Demand) -> Permit:
        """Hold room for a call, from before its images are decoded until its reply is written.

        Raises:
            EngineSilentError: the engine does not answer now.
            DeadlineError, QueueFullError, NotInTimeError, CallerLimitError: as Admission does.

        """
        if self._engine_is_silent:
            raise EngineSilentError
        return self._admission.take(demand)

    async def submit(
        self, images: Images, deadline: float = NO_DEADLINE, want: Want = LABELS, caller: str = ""
    ) -> list[BatchSlice]:
        """The answers to admitted images, in their order.

        Raises:
            DeadlineError: the deadline passed while they waited.
            EngineError: the model failed on a batch of theirs.
            QueueFullError, NotInTimeError, CallerLimitError, DrainingError: the engine refused them, or was going down.
            EngineGoneError: it is not there any more.
            EngineSilentError: it does not answer now.

        """
        if not len(images):
            return []
        if not self._link.is_open:
            raise EngineGoneError
        if self._engine_is_silent:
            raise EngineSilentError
        number, future = next(self._numbers), asyncio.get_running_loop().create_future()
        self._open[number] = future
        self._link.send(encode_request(number, want, deadline, caller, images))
        self._sent += len(images)
        try:
            part = await future
        except asyncio.CancelledError:
            self._link.send(encode_cancel(number))
            raise
        finally:
            self._open.pop(number, None)
        return [part]

    def _receive(self, body: memoryview) -> None:
        message = decode_reply(body, self._models)
        if isinstance(message, Backlog):
            self._backlog, self._sent = message, 0
            return
        if isinstance(message, ModelDescription):
            self._models.add(message)
            self._described.set()
            return
        future = self._open.get(message.number)
        if isinstance(message.outcome, Exception):
            if future is not None and not future.done():
                future.set_exception(message.outcome)
            return
        self.last_success = time.monotonic()
        if future is not None and not future.done():
            future.set_result(BatchSlice(message.outcome, 0, len(message.outcome), message.began, message.seconds))

    def _current_backlog(self) -> Backlog:
        """What the engine has said last, and what this worker has sent since."""
        return self._backlog._replace(queued=self._backlog.queued + self._sent)

    def _fail(self, error: Exception) -> None:
        for future in self._open.values():
            if not future.done():
                future.set_exception(error)

    def _lost(self) -> None:
        self._fail(EngineGoneError())
        self._described.set()
        self._call_lost()
