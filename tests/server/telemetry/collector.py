"""A collector of spans: OTLP over gRPC, on a free port."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True)
class CollectedSpan:
    """One span as it was sent."""

    name: str
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    kind: int
    error: bool
    attributes: dict[str, str]
    resource: dict[str, str]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that it is sent, or refuses all, or never answers."""

    def __init__(self, *, refuses: bool = False, hangs: bool = False) -> None:
        self._refuses, self._hangs = refuses, hangs
        self._going = threading.Event()
        self._spans: list[CollectedSpan] = []
        self.asked = 0
        self._server = grpc.server(ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._going.set()
        self._server.stop(0).wait()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name
        self.asked += 1
        if self._hangs:
            self._going.wait(60)
        if self._refuses:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        for of_resource in request.resource_spans:
            resource = _texts(of_resource.resource.attributes)
            for scope in of_resource.scope_spans:
                self._spans += [_collected(span, resource) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, name: str) -> list[CollectedSpan]:
        """Spans of that name so far."""
        return [span for span in self._spans if span.name == name]

    def children(self, parent: CollectedSpan) -> list[CollectedSpan]:
        """Spans below that one so far, by their begin."""
        return sorted((span for span in self._spans if span.parent == parent.id), key=lambda span: span.began)


def _texts(attributes: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in attributes}


def _collected(span: Any, resource: dict[str, str]) -> CollectedSpan:
    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
    times = span.start_time_unix_nano, span.end_time_unix_nano
    return CollectedSpan(span.name, *ids, *times, span.kind, span.status.code == 2, _texts(span.attributes), resource)
