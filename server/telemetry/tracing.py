"""Whether calls are traced. Only where they are is OpenTelemetry imported."""

import logging
from collections.abc import Mapping
from typing import Protocol

from holdfast.errors import HoldfastError
from holdfast.server.metrics.traces import TraceMetrics
from holdfast.server.telemetry.calls import CallTrace
from holdfast.server.telemetry.settings import TelemetrySettings

log = logging.getLogger(__name__)


class TracedCall(Protocol):
    """One call with a span."""

    trace: CallTrace

    def end(self, code: str, attributes: Mapping[str, str]) -> None:
        """The call has ended with this status code, such as "OK"."""


class Tracer(Protocol):
    """Makes spans of calls. What it raises is a fault of its own, and never the call's."""

    def begin(self, method: str, sent: Mapping[str, str]) -> TracedCall | None:
        """A call to "/package.Service/Method" begins; None where it is not traced. `sent`: traceparent and tracestate."""

    def close(self) -> None:
        """Send what is left, as far as that takes a moment only. Blocks for that long."""


def make_tracer(settings: TelemetrySettings, metrics: TraceMetrics) -> Tracer | None:
    """The tracer of the settings; None where they ask for none.

    Raises:
        HoldfastError: OpenTelemetry is not installed.

    """
    if settings.trace_endpoint is None:
        return None
    try:
        from holdfast.server.telemetry.otel import OtelTracer  # noqa: PLC0415 - nobody else pays for it
    except ImportError as error:
        raise HoldfastError(f"--trace-endpoint needs the extra 'otel': pip install 'holdfast[otel]' ({error})") from None
    return OtelTracer(settings, metrics)
