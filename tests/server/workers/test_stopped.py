"""A process of several that is stopped, not dead: its sockets stay open, and nobody is told."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from tests.server.running import NOT_SERVING, Process, wait_for, workers_of
from tests.server.tiny import coloured, raw

REQUEST = pb.ClassifyRequest(images=[raw(coloured(1, 1, seed=1)[0])])
FLAGS = "--workers", "1", "--worker-timeout", "1", "--drain-notice", "0"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers share a port as Linux does it")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_worker_that_is_stopped_is_replaced_and_holds_up_no_end(
    tiny_bundle: Path, tmp_path: Path, processes: list[Process]
) -> None:
    process = Process(tiny_bundle, tmp_path, None, *FLAGS, "--drain-grace", "3600")
    processes.append(process)
    (first,) = workers_of(process.popen.pid)
    os.kill(first, signal.SIGSTOP)
    wait_for(lambda: process.metric("holdfast_workers_replaced_total", why="silent") == 1)
    answer = process.stub.Classify(REQUEST, wait_for_ready=True, timeout=15).results[0].answer
    assert answer.label.name == "green"
    assert process.metric("holdfast_workers_replaced_total", why="ended") == 0
    (second,) = workers_of(process.popen.pid)
    os.kill(second, signal.SIGSTOP)
    _, output = process.end()
    assert f"process {first}" in output
    assert f"process {second}" in output
    assert "Traceback" not in output
    assert not any(Path(f"/proc/{pid}").exists() for pid in (first, second))


def test_workers_refuse_calls_while_their_engine_is_stopped(
    tiny_bundle: Path, tmp_path: Path, processes: list[Process]
) -> None:
    process = Process(tiny_bundle, tmp_path, None, *FLAGS)
    processes.append(process)
    assert process.stub.Classify(REQUEST).results[0].answer.label.name == "green"
    with stopped(process.popen.pid):
        under_way = process.stub.Classify.future(REQUEST)
        wait_for(lambda: process.health() == NOT_SERVING)
        for call in (under_way, process.stub.Classify.future(REQUEST)):
            assert call.exception(15).code() == grpc.StatusCode.UNAVAILABLE
    wait_for(lambda: process.health() == health_pb2.HealthCheckResponse.SERVING)
    assert process.stub.Classify(REQUEST).results[0].answer.label.name == "green"
    status, output = process.end()
    assert status == 0, output
    assert "is killed" not in output
