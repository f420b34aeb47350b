"""Spans of real calls, as a collector receives them."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.errors import HoldfastError
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from holdfast.server.metrics.traces import TraceMetrics
from holdfast.server.settings import ConfigurationError, Settings, load_settings
from holdfast.server.telemetry import otel
from holdfast.server.telemetry.tracing import make_tracer
from tests.server.running import REPOSITORY, LoopThread, Serve, Served, refusal, start, wait_for
from tests.server.telemetry.collector import CollectedSpan, Collector
from tests.server.tiny import coloured, png

CLASSIFY = "holdfast.v1.HoldfastService/Classify"
STREAM = "holdfast.v1.HoldfastService/ClassifyStream"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
IMAGE = image_pb2.Image(encoded=png(coloured(0, 1, seed=901)[0]))
REQUEST = pb.ClassifyRequest(images=[IMAGE, IMAGE])


def traceparent(*, sampled: bool) -> tuple[tuple[str, str], ...]:
    return (("traceparent", f"00-{TRACE}-{PARENT}-{int(sampled):02}"),)


@pytest.fixture(autouse=True)
def _sent_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "SEND_EVERY_S", 0.05)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collecting:
        yield collecting


def only(collector: Collector, name: str) -> CollectedSpan:
    wait_for(lambda: collector.named(name))
    (span,) = collector.named(name)
    return span


@pytest.mark.parametrize("workers", [0, 1])
def test_a_call_is_a_span_with_its_stages_below_it(collector: Collector, serve: Serve, workers: int) -> None:
    served = serve(trace_endpoint=collector.url, trace_share=1.0, workers=workers)
    before = time.time_ns()
    served.stub.Classify(REQUEST, metadata=(*traceparent(sampled=False), ("x-request-id", "order-7")))
    after = time.time_ns()
    span = only(collector, CLASSIFY)
    assert (span.trace, span.parent, span.error) == (TRACE, PARENT, False)
    assert span.attributes["rpc.response.status_code"] == "OK"
    assert span.attributes["holdfast.request_id"] == "order-7"
    assert span.attributes["holdfast.caller"] == "127.0.0.1"
    assert span.resource["service.name"] == "holdfast"
    stages = collector.children(span)
    assert [stage.name for stage in stages] == ["admission", "decode", "queue", "engine", "reply"]
    times = [time for stage in stages for time in (stage.began, stage.ended)]
    assert times == sorted(times)
    slack = 50_000_000  # the clock may be set while the test runs, but hardly by more
    assert before - slack <= span.began <= times[0] + slack
    assert times[-1] <= span.ended + slack <= after + 2 * slack


def test_a_refused_call_is_a_span_with_its_code(collector: Collector, serve: Serve) -> None:
    served = serve(trace_endpoint=collector.url, trace_share=1.0)
    refusal(lambda: served.stub.Classify(pb.ClassifyRequest()))
    span = only(collector, CLASSIFY)
    assert span.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert not span.error  # the caller's fault


def test_a_stream_is_one_span_with_a_bounded_number_of_stages(collector: Collector, serve: Serve) -> None:
    served = serve(trace_endpoint=collector.url, trace_share=1.0)
    sent = (pb.ClassifyStreamRequest(sequence=number, images=[IMAGE]) for number in range(40))
    assert len(list(served.stub.ClassifyStream(sent))) == 40
    span = only(collector, STREAM)
    assert 4 <= len(collector.children(span)) <= 64


def test_health_checks_are_not_traced_and_what_waits_is_sent_at_the_end(
    collector: Collector, tiny_bundle: Path, loop_thread: LoopThread
) -> None:
    with ExitStack() as stack:
        served = start(stack, loop_thread, tiny_bundle, trace_endpoint=collector.url, trace_share=1.0)
        health_pb2_grpc.HealthStub(served.channel).Check(health_pb2.HealthCheckRequest())
        served.stub.Classify(REQUEST)
    assert len(collector.named(CLASSIFY)) == 1
    assert not collector.named("grpc.health.v1.Health/Check")


@pytest.mark.parametrize(("share", "callers", "sampled"), [(0, False, True), (0, True, True), (1, True, False)])
def test_who_decides_what_is_traced(share: float, callers: bool, sampled: bool, collector: Collector, serve: Serve) -> None:
    served = serve(trace_endpoint=collector.url, trace_share=share, trace_callers=callers)
    served.stub.Classify(REQUEST, metadata=traceparent(sampled=sampled))
    traced = sampled if callers else bool(share)
    assert served.metric("holdfast_trace_spans_total", outcome="made") == (6 if traced else 0)


def test_a_bad_traceparent_begins_a_trace_of_its_own(collector: Collector, serve: Serve) -> None:
    served = serve(trace_endpoint=collector.url, trace_share=1.0)
    sent = ["", "00-zz-1-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 4000]
    for value in sent:
        served.stub.Classify(REQUEST, metadata=(("traceparent", value), ("tracestate", "=,=;~" * 8)))
    wait_for(lambda: len(collector.named(CLASSIFY)) == len(sent))
    assert {span.parent for span in collector.named(CLASSIFY)} == {""}
    assert len({span.trace for span in collector.named(CLASSIFY)}) == len(sent)


@pytest.mark.parametrize("kind", ["refuses", "hangs", "absent"])
def test_a_collector_that_takes_nothing_costs_no_call(
    kind: str, tiny_bundle: Path, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel, "CLOSE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(otel, "EXPORT_TIMEOUT_S", 0.5)
    with Collector(refuses=kind == "refuses", hangs=kind == "hangs") as collector, ExitStack() as stack:
        url = "http://127.0.0.1:1" if kind == "absent" else collector.url
        served = start(stack, loop_thread, tiny_bundle, trace_endpoint=url, trace_share=1.0, trace_queue=64)
        for _ in range(30):  # six spans each, more than wait
            assert len(served.stub.Classify(REQUEST).results) == 2
        if kind == "refuses":
            wait_for(lambda: served.metric("holdfast_trace_spans_total", outcome="failed"))
        began = time.monotonic()
        stack.close()
        assert time.monotonic() - began < 15


def test_without_an_endpoint_nothing_of_it_is_imported() -> None:
    code = (
        "import sys, holdfast.server.api.grpc_server; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "holdfast.server.telemetry.otel", None)
    settings = Settings(bundle=Path("b"), trace_endpoint="http://localhost:4317")
    with pytest.raises(HoldfastError, match="otel"):
        make_tracer(settings, TraceMetrics(None))
    assert make_tracer(Settings(bundle=Path("b")), TraceMetrics(None)) is None


@pytest.mark.parametrize("endpoint", ["localhost:4317", "http://", "file:///etc/passwd", ""])
def test_an_endpoint_is_a_url(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="trace_endpoint"):
        load_settings(["--bundle", "b", "--trace-endpoint", endpoint], {})


def test_the_reply_to_a_traced_call_is_as_ever(collector: Collector, serve: Serve, served: Served) -> None:
    traced = serve(trace_endpoint=collector.url, trace_share=1.0)
    assert traced.stub.Classify(REQUEST) == served.stub.Classify(REQUEST)
    with pytest.raises(grpc.RpcError) as refused:
        traced.stub.Classify(pb.ClassifyRequest())
    assert "grpc-status-details-bin" in dict(refused.value.trailing_metadata())
