"""What a caller has heard of is in the metrics: nobody who reads them after a call finds them behind it."""

from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest
from prometheus_client import generate_latest

from holdfast.errors import ImageError
from holdfast.server.api.interceptors import Measure, Translate
from holdfast.server.core.errors import DeadlineError, QueueFullError
from holdfast.server.metrics.metrics import Metrics
from tests.server.running import metric_of


class Sent(Exception):  # noqa: N818 - stands for gRPC's AbortError
    """The status is on its way to the caller."""


class Call:
    """A call's context: notes the calls that the metrics count at the moment its status goes out."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.counted: dict[str, float] = {}

    def time_remaining(self) -> None:
        return None

    def code(self) -> int:
        return 0

    def trailing_metadata(self) -> None:
        return None

    async def abort(self, code: grpc.StatusCode, *_: object) -> None:
        text = generate_latest(self._metrics.registry).decode()
        self.counted[code.name] = metric_of(text, "grpc_server_handled_total", grpc_code=code.name)
        raise Sent


async def answer(metrics: Metrics, error: Exception) -> Call:
    """Let a method raise the error, behind the interceptors in the server's order."""

    async def method(request: bytes, context: object) -> bytes:
        del request, context
        raise error

    handler = grpc.unary_unary_rpc_method_handler(method)
    for guard in (Measure(metrics), Translate()):
        inner = handler

        async def continuation(_: Any, inner: Any = inner) -> Any:
            return inner

        handler = await guard.intercept_service(
            continuation, SimpleNamespace(method="/toy.Names/Classify", invocation_metadata=())
        )
    call = Call(metrics)
    with pytest.raises(Sent):
        await handler.unary_unary(b"", call)
    return call


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ImageError("encoded", "is no image"), "INVALID_ARGUMENT"),
        (QueueFullError(0.1), "RESOURCE_EXHAUSTED"),
        (DeadlineError(), "DEADLINE_EXCEEDED"),
        (ZeroDivisionError(), "INTERNAL"),
    ],
)
async def test_an_error_is_counted_before_its_caller_hears_of_it(error: Exception, code: str) -> None:
    assert (await answer(Metrics(), error)).counted == {code: 1}
