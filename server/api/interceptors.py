"""What happens around every call: it is measured, its errors become statuses, and none begins while the server drains."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import isasyncgenfunction
from typing import Any

import grpc
import grpc.aio

from holdfast.server.api.status import code_of, to_status, trailing_metadata
from holdfast.server.core.drain import Drain
from holdfast.server.metrics.metrics import Metrics

Context = Any  # grpc.aio.ServicerContext of whatever messages the method has
Behaviour = Callable[[Any, Context], Awaitable[Any]]
"""A method: takes a request (or an iterator of them) and a context; returns a response, or writes several and returns None."""

_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
_KINDS = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}
_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


def _ran_out(given: float | None, left: float | None) -> bool:
    """Whether a call that was cancelled had come to its deadline: seconds given at its start, and left when it ended.

    On the wire a deadline is rounded up by up to one in a hundred, so the caller gives up a little before it passes here.
    """
    return given is not None and left is not None and left <= 0.01 + given / 100


SENT: ContextVar[Sequence[tuple[str, str | bytes]] | None] = ContextVar("sent")
"""The metadata of the call that is being answered. Each time that its context is asked, gRPC makes it anew."""


class Around(grpc.aio.ServerInterceptor, ABC):
    """Puts something around each method, once per method and not once per call."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Any] = {}

    @abstractmethod
    def around(self, inner: Behaviour, method: str, kind: str) -> Behaviour:
        """The method with something around it. `method` is "/package.Service/Method"; `kind` as metrics name it."""

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Called by gRPC for each call, in the task that goes on to answer it."""
        method: str = handler_call_details.method
        SENT.set(handler_call_details.invocation_metadata)
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:  # no such method; not kept, for anybody can invent names
                return None
            wrapped = self._wrapped[method] = self._wrap(handler, method)
        return wrapped

    def _wrap(self, handler: Any, method: str) -> Any:
        around = self.around(self.behaviour_of(handler), method, kind_of(handler))
        return handler_of(around, handler, request_deserializer=handler.request_deserializer)

    @staticmethod
    def behaviour_of(handler: Any) -> Behaviour:
        """What a handler does, as a coroutine."""
        behaviours = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
        return _as_coroutine(next(b for b in behaviours if b is not None))


@dataclass(frozen=True, slots=True)
class ReceivingHandler:
    """A method of one message that reads it by itself. gRPC takes it for one of a stream of them.

    Attributes:
        kind: what it is all the same, as metrics name it.

    All else is that of gRPC's RpcMethodHandler.

    """

    kind: str
    request_deserializer: Callable[[bytes], Any] | None
    response_serializer: Callable[[Any], bytes] | None
    response_streaming: bool
    behaviour: Behaviour
    request_streaming: bool = True
    unary_unary: None = None
    unary_stream: None = None

    @property
    def stream_unary(self) -> Behaviour | None:
        """The behaviour of a method that returns one response."""
        return None if self.response_streaming else self.behaviour

    @property
    def stream_stream(self) -> Behaviour | None:
        """The behaviour of one that writes several."""
        return self.behaviour if self.response_streaming else None


def kind_of(handler: Any) -> str:
    """How metrics name its kind."""
    if isinstance(handler, ReceivingHandler):
        return handler.kind
    return _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]


def handler_of(behaviour: Behaviour, like: Any, *, request_deserializer: Callable[[bytes], Any] | None) -> Any:
    """A handler of the same kind with another behaviour; without a deserializer it gets bytes."""
    make = _MAKERS[bool(like.request_streaming), bool(like.response_streaming)]
    return make(behaviour, request_deserializer, _unless_serialised(like.response_serializer))


class Measure(Around):
    """Counts and times every call, by method and status code.

    It stands inside of Translate: an error is counted before its status is sent, so a caller that has heard of it finds it
    in the metrics.
    """

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._metrics = metrics

    def around(self, inner: Behaviour, method: str, kind: str) -> Behaviour:
        """Measure one method."""
        service, name = method.strip("/").rsplit("/", 1)
        call = self._metrics.call(kind, service, name)

        async def measured(request: Any, context: Context) -> Any:
            began, given = time.perf_counter(), context.time_remaining()
            call.started.inc()
            code = "UNKNOWN"
            try:
                response = await inner(request, context)
                code = code_name(context, "OK")
            except asyncio.CancelledError:
                code = "DEADLINE_EXCEEDED" if _ran_out(given, context.time_remaining()) else "CANCELLED"
                raise
            except grpc.aio.AbortError:
                code = code_name(context, "UNKNOWN")
                raise
            except Exception as error:
                code = code_of(error).name
                raise
            finally:
                call.handled(code).inc()
                call.seconds.observe(time.perf_counter() - began)
            return response

        return measured


class Translate(Around):
    """Turns exceptions into google.rpc.Status, by the table in status.py."""

    def around(self, inner: Behaviour, method: str, kind: str) -> Behaviour:
        """Translate one method's errors."""
        del method, kind

        async def translated(request: Any, context: Context) -> Any:
            answering = inner(request, context)
            # gRPC keeps the error that aborts a call, and with it the frames that it passed, in a circle of references until
            # the garbage collector runs: so none of them may hold the message, nor the error that the call has ended with.
            del request
            try:
                return await answering
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - the table sorts them, and logs what is not in it
                status = to_status(error)
                code = next(c for c in grpc.StatusCode if c.value[0] == status.code)
                trailing = (*(context.trailing_metadata() or ()), *trailing_metadata(error, status))
            return await context.abort(code, status.message, trailing)

        return translated


class Admit(Around):
    """Counts the APIs' calls in flight, and refuses new ones while the server drains."""

    def __init__(self, drain: Drain, services: Iterable[str]) -> None:
        super().__init__()
        self._drain, self._prefixes = drain, tuple(f"/{service}/" for service in services)

    def around(self, inner: Behaviour, method: str, kind: str) -> Behaviour:
        """Guard one method; those of other services (health, reflection) go on to the end."""
        del kind
        if not method.startswith(self._prefixes):
            return inner
        drain = self._drain

        async def admitted(request: Any, context: Context) -> Any:
            drain.enter()
            try:
                return await inner(request, context)
            finally:
                drain.leave()

        return admitted


def _unless_serialised(serializer: Callable[[Any], bytes] | None) -> Callable[[Any], bytes] | None:
    """Long replies are serialised piece by piece by those who make them: gRPC would do all of it at once, on the event loop."""
    if serializer is None:
        return None
    return lambda message: message if isinstance(message, bytes) else serializer(message)


def _as_coroutine(behaviour: Callable[[Any, Context], Any]) -> Behaviour:
    """Streams of responses come in two shapes, that yields and that writes; everything here is of the one that writes."""
    if not isasyncgenfunction(behaviour):
        return behaviour

    async def write_all(request: Any, context: Context) -> None:
        async for response in behaviour(request, context):
            await context.write(response)

    return write_all


def code_name(context: Context, otherwise: str) -> str:
    """The name of the status code that was set for a call; `otherwise` where none was."""
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    return _CODE_NAMES.get(code, otherwise) if code else otherwise
