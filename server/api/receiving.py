"""How messages come in: in time, or the call ends; and what streams of every API have in common.

gRPC never answers a call of one message that ends without it, nor one that never sends it, and no interceptor sees either. So
`Receive`, the first but for the one that looks at tokens, reads the message itself. What it gets in the place of one travels
inwards as an exception, past those that measure and admit, to `Refuse`, which raises it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from math import inf
from typing import Any, TypeVar

import grpc.aio

from holdfast.server.api.api import sender_of
from holdfast.server.api.interceptors import Around, Behaviour, Context, ReceivingHandler, handler_of, kind_of
from holdfast.server.core.errors import CallerGoneError, NotInTimeError, QueueFullError, UnreadableError
from holdfast.server.core.scheduling.messages import LONG_BYTES, MessageReading
from holdfast.server.metrics.metrics import Metrics

T = TypeVar("T")

CANCEL_GRACE_S = 0.05
"""Seconds after which a call that ended without a message was not given up by its caller."""


class Receive(Around):
    """Reads the message of each call of one message, and those of streams, as it is their caller's turn.

    Args:
        timeout: seconds that a call of one message has to send it.
        reading: says whose turn it is.

    """

    def __init__(self, timeout: float, reading: MessageReading) -> None:
        super().__init__()
        self._awaited, self._reading = Awaited(timeout), reading

    def around(self, inner: Behaviour, method: str, kind: str) -> Behaviour:
        """Nothing: see `_wrap`."""
        del method, kind
        return inner

    def _wrap(self, handler: Any, method: str) -> Any:
        del method
        inner, awaited, reading = self.behaviour_of(handler), self._awaited, self._reading
        if handler.request_streaming:

            async def streamed(requests: AsyncIterator[Any], context: Context) -> Any:
                return await inner(self._in_turn(requests, context), context)

            return handler_of(streamed, handler, request_deserializer=handler.request_deserializer)

        async def received(_: Any, context: Context) -> Any:
            release = None
            try:
                message = await reading.read(partial(sender_of, context), partial(awaited.message, context))
                if type(message) is bytes and len(message) >= LONG_BYTES:
                    release = reading.hold(sender_of(context), len(message))
            except QueueFullError as error:
                message = error.with_traceback(None)
            try:
                return await inner(message, context)
            finally:
                if release is not None:
                    release()

        several = bool(handler.response_streaming)
        return ReceivingHandler(kind_of(handler), handler.request_deserializer, handler.response_serializer, several, received)

    async def _in_turn(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """The messages of a stream. Each waits for its turn; none is refused for it, since it holds up the stream alone."""
        reading, caller, following = self._reading, partial(sender_of, context), partial(anext, requests, grpc.aio.EOF)
        while (message := await reading.read(caller, following, inf)) is not grpc.aio.EOF:
            yield message


class Refuse(Around):
    """Ends calls whose message did not come or is not taken, or whose callers have left. Those that measure are outside of it.

    Args:
        metrics: of this process.
        reading: is told whose long messages came for nothing.

    """

    def __init__(self, metrics: Metrics, reading: MessageReading) -> None:
        super().__init__()
        self._metrics, self._reading = metrics, reading

    def around(self, inner: Behaviour, method: str, kind: str) -> Behaviour:
        """Guard one method."""
        del method, kind

        async def there(request: Any, context: Context) -> Any:
            if isinstance(request, UnreadableError):
                self._metrics.unreadable.labels("missing").inc()
                raise request
            if isinstance(request, QueueFullError):
                raise request
            try:
                return await _unless_gone(inner(request, context))
            except QueueFullError as error:
                # One that would be late may be followed by one with more time, and is no reason to wait.
                if type(request) is bytes and len(request) >= LONG_BYTES and not isinstance(error, NotInTimeError):
                    self._reading.rest(sender_of(context), error.retry_after)
                raise

        return there


class Awaited:
    """Calls whose message has not come yet. One timer is enough for all: each has the same time.

    Args:
        timeout: seconds.

    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._since: dict[asyncio.Task[Any], float] = {}  # the oldest first
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def message(self, context: Context) -> Any:
        """The message, or in its place the UnreadableError that the call is to end with."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - gRPC makes one for each call
        self._since[task] = time.monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._timeout, self._look)
        try:
            message = await context.read()
        except asyncio.CancelledError:
            if task not in self._late or task.uncancel():
                raise
            return UnreadableError(f"the message did not come within {self._timeout:g} seconds")
        finally:
            del self._since[task]
            self._late.discard(task)
        if message is not grpc.aio.EOF:
            return message
        await asyncio.sleep(CANCEL_GRACE_S)  # the end of a call that was given up looks the same, a moment before it is told
        return UnreadableError("the call ended without its message")

    def _look(self) -> None:
        """Wake those up that have waited for too long, and come again when the next one will have."""
        now, self._timer = time.monotonic(), None
        for task, since in self._since.items():
            left = since + self._timeout - now
            if left > 0:
                self._timer = asyncio.get_running_loop().call_later(left, self._look)
                return
            self._late.add(task)
            task.cancel()


async def _unless_gone(answering: Awaitable[Any]) -> Any:
    """What it comes to. Raises CallerGoneError in the place of what gRPC raises where a reply cannot be sent."""
    try:
        return await answering
    except Exception as error:
        if _says_gone(error):
            raise CallerGoneError from None
        raise


def _says_gone(error: BaseException) -> bool:
    """Whether gRPC could not send; streams have several tasks, whose errors come in a group."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_says_gone, error.exceptions))
    return isinstance(error, grpc.aio.InternalError)


async def until(stop: asyncio.Event, requests: AsyncIterator[T]) -> AsyncIterator[T]:
    """The requests, until there are no more or `stop` is set."""
    stopping = asyncio.ensure_future(stop.wait())
    arriving: asyncio.Future[T | None] | None = None
    try:
        while True:
            arriving = asyncio.ensure_future(anext(requests, None))
            await asyncio.wait({arriving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not arriving.done():
                return
            request = arriving.result()
            if request is None:
                return
            yield request
    finally:
        stopping.cancel()
        if arriving is not None and not arriving.done():
            arriving.cancel()
            arriving.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # whatever it was, nobody waits
