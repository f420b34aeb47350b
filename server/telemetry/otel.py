"""Spans by OpenTelemetry, sent by OTLP over gRPC from a thread of the library's. Imported only where calls are traced."""

import importlib.metadata
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from holdfast.server.metrics.traces import TraceMetrics
from holdfast.server.telemetry.calls import CallTrace
from holdfast.server.telemetry.settings import TelemetrySettings

EXPORT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0
SEND_EVERY_S = 1.0
BATCH_SPANS = 512
SAY_EVERY_S = 60.0

SERVERS_FAULT = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""Codes that make a server's span an error, by OpenTelemetry's conventions."""

log = logging.getLogger(__name__)


class CountedExporter(SpanExporter):
    """Counts what the exporter inside does, and logs that it fails once a minute at most.

    Args:
        inner: sends spans.
        metrics: count them.

    """

    def __init__(self, inner: SpanExporter, metrics: TraceMetrics) -> None:
        self._inner, self._metrics = inner, metrics
        self._said = -SAY_EVERY_S

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send; never raises."""
        try:
            result = self._inner.export(spans)
        except Exception:  # noqa: BLE001 - whatever it was: spans are lost, and calls are not
            result = SpanExportResult.FAILURE
        sent = result is SpanExportResult.SUCCESS
        self._metrics.spans.labels("sent" if sent else "failed").inc(len(spans))
        if not sent and time.monotonic() - self._said >= SAY_EVERY_S:
            self._said = time.monotonic()
            log.warning("the collector of spans does not take them: see holdfast_trace_spans_total")
        return result

    def shutdown(self) -> None:
        """Give up what is being sent."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return self._inner.force_flush(timeout_millis)


class OtelCall:
    """One call: a span, with a child for each stage, which are made once it has ended."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span, metrics: TraceMetrics) -> None:
        self._tracer, self._span, self._metrics = tracer, span, metrics
        context = span.get_span_context()
        self.trace = CallTrace(trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id))
        self._offset = time.time() - time.monotonic()

    def end(self, code: str, attributes: Mapping[str, str]) -> None:
        """Make the spans of the stages, and end the call's."""
        ended, parent = time.monotonic(), trace.set_span_in_context(self._span, Context())
        for stage in self.trace.stages:
            span = self._tracer.start_span(stage.name, parent, start_time=self._nanoseconds(stage.began))
            span.end(self._nanoseconds(stage.ended))
        self._span.set_attributes({"rpc.response.status_code": code, **attributes})
        if code in SERVERS_FAULT:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(self._nanoseconds(ended))
        self._metrics.spans.labels("made").inc(1 + len(self.trace.stages))

    def _nanoseconds(self, monotonic: float) -> int:
        return round((monotonic + self._offset) * 1e9)


class OtelTracer:
    """A telemetry.tracing.Tracer.

    Args:
        settings: of the server, with an endpoint.
        metrics: count spans.

    """

    def __init__(self, settings: TelemetrySettings, metrics: TraceMetrics) -> None:
        for name in ("opentelemetry.exporter", "opentelemetry.sdk"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # CountedExporter says it, and does not repeat itself
        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME", "holdfast"),
                "service.version": importlib.metadata.version("holdfast"),
                "service.instance.id": f"{socket.gethostname()}/{os.getpid()}",
            }
        )
        exporter = CountedExporter(OTLPSpanExporter(settings.trace_endpoint, timeout=EXPORT_TIMEOUT_S), metrics)
        self._provider = TracerProvider(_sampler(settings), resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=settings.trace_queue,
                schedule_delay_millis=SEND_EVERY_S * 1000,
                max_export_batch_size=min(BATCH_SPANS, settings.trace_queue),
                export_timeout_millis=EXPORT_TIMEOUT_S * 1000,
            )
        )
        self._tracer, self._metrics = self._provider.get_tracer("holdfast"), metrics
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, method: str, sent: Mapping[str, str]) -> OtelCall | None:
        """A span of the call, below the caller's where it sent a traceparent; None where the call is not sampled."""
        service, _, name = method.strip("/").rpartition("/")
        parent = self._propagator.extract(sent, Context())
        attributes = {"rpc.system.name": "grpc", "rpc.method": f"{service}/{name}"}
        span = self._tracer.start_span(f"{service}/{name}", parent, SpanKind.SERVER, attributes)
        return OtelCall(self._tracer, span, self._metrics) if span.is_recording() else None

    def close(self) -> None:
        """Send what is left, within CLOSE_TIMEOUT_S."""
        # The library's own shutdown waits for as long as a collector that does not answer lets it.
        closing = threading.Thread(target=self._provider.shutdown, name="trace-close", daemon=True)
        closing.start()
        closing.join(CLOSE_TIMEOUT_S)


def _sampler(settings: TelemetrySettings) -> Sampler:
    by_share = TraceIdRatioBased(settings.trace_share)
    return ParentBased(by_share) if settings.trace_callers else by_share
