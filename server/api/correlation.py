"""Which request a call is: its id, in and out, and its span."""

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from holdfast.server.api.api import caller_of
from holdfast.server.api.interceptors import SENT, Around, Behaviour, Context, code_name
from holdfast.server.metrics.traces import TraceMetrics
from holdfast.server.telemetry.calls import CURRENT, REQUEST_ID_KEY, CurrentCall, new_request_id, request_id_of
from holdfast.server.telemetry.tracing import TracedCall, Tracer

TRACE_KEYS = ("traceparent", "tracestate")

log = logging.getLogger(__name__)


class Correlate(Around):
    """Gives each call of the APIs an id, which logs have and which trails the reply; and a span, where calls are traced.

    It stands outside of all others, so that what they log is of the call, too.

    Args:
        services: whose calls are given ids: those of the APIs, and not health checks.
        longest: characters of a caller's own id, at most.
        tracer: None where nothing is traced.
        metrics: count ids that are not taken.

    """

    def __init__(self, services: Iterable[str], longest: int, tracer: Tracer | None, metrics: TraceMetrics) -> None:
        super().__init__()
        self._prefixes, self._longest = tuple(f"/{service}/" for service in services), longest
        self._tracer, self._metrics = tracer, metrics

    def around(self, inner: Behaviour, method: str, kind: str) -> Behaviour:
        """Give one method's calls ids."""
        if not method.startswith(self._prefixes):
            return inner

        async def correlated(request: Any, context: Context) -> Any:
            sent = dict(SENT.get() or ())
            call = CurrentCall(self._request_id(sent), partial(caller_of, context))
            CURRENT.set(call)  # each call is a task, with a context of its own
            context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
            traced = None if self._tracer is None else _begin(self._tracer, method, sent)
            answering = inner(request, context)
            del request  # as Translate does
            if traced is None:
                return await answering
            call.trace = traced.trace
            call.trace.unary = kind == "unary"
            return await _followed(traced, call, answering, context)

        return correlated

    def _request_id(self, sent: dict[str, Any]) -> str:
        if REQUEST_ID_KEY not in sent:
            return new_request_id()
        taken = request_id_of(sent[REQUEST_ID_KEY], self._longest)
        if taken is None:
            self._metrics.replaced_ids.inc()
        return taken or new_request_id()


async def _followed(traced: TracedCall, call: CurrentCall, answering: Any, context: Context) -> Any:
    """What `answering` comes to; then the span ends, whatever that was."""
    code = "UNKNOWN"
    try:
        response = await answering
        code = code_name(context, "OK")
    except asyncio.CancelledError:
        code = "CANCELLED"
        raise
    except BaseException:
        code = code_name(context, "UNKNOWN")
        raise
    finally:
        if traced.trace.unary and traced.trace.stages and code == "OK":
            traced.trace.add("reply", traced.trace.stages[-1].ended, time.monotonic())
        with suppress(Exception):  # a fault in tracing is no fault of the call
            traced.end(code, {"holdfast.request_id": call.request_id, "holdfast.caller": call.caller()})
    return response


def _begin(tracer: Tracer, method: str, sent: dict[str, Any]) -> TracedCall | None:
    try:
        return tracer.begin(method, {key: sent[key] for key in TRACE_KEYS if isinstance(sent.get(key), str)})
    except Exception:
        log.debug("a call could not be traced", exc_info=True)
        return None
