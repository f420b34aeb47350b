"""SIGTERM as callers see it: a notice in which nothing fails, then the end of what is in flight."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import Queue

import grpc
import pytest

from holdfast.protos.holdfast.admin.v1 import admin_pb2
from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import AdminServiceStub
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1.holdfast_pb2_grpc import HoldfastServiceStub
from tests.refusals import one_line
from tests.server.running import NOT_SERVING, REPOSITORY, Process, command_of_held_model, wait_for, workers_of
from tests.server.tiny import coloured, raw

REQUEST = pb.ClassifyRequest(images=[raw(coloured(1, 1, seed=1)[0])])
NOTICE_S = 1.0

processes_of_workers = pytest.mark.parametrize(
    "workers", [0, pytest.param(2, marks=pytest.mark.skipif(sys.platform != "linux", reason="workers need Linux"))]
)


class Caller(threading.Thread):
    """Calls again and again, each time on a connection of its own, and keeps when which call ended, and how."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address, self._enough = address, threading.Event()
        self.ended: list[tuple[float, grpc.StatusCode, str]] = []

    def run(self) -> None:
        while not self._enough.wait(0.005):
            with grpc.insecure_channel(self._address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                code, details = grpc.StatusCode.OK, ""
                try:
                    HoldfastServiceStub(channel).Classify(REQUEST, timeout=10)
                except grpc.RpcError as error:
                    code, details = error.code(), error.details() or ""
            self.ended.append((time.monotonic(), code, details))

    def stop(self) -> None:
        self._enough.set()
        self.join()


class Stream:
    """A ClassifyStream on which a test sends when it wants to."""

    def __init__(self, stub: HoldfastServiceStub) -> None:
        self._waiting: Queue[pb.ClassifyStreamRequest | None] = Queue()
        self.replies = stub.ClassifyStream(iter(self._waiting.get, None))

    def send(self, sequence: int) -> None:
        self._waiting.put(pb.ClassifyStreamRequest(sequence=sequence, images=REQUEST.images))

    def close(self) -> None:
        self._waiting.put(None)


@pytest.fixture
def streams() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@processes_of_workers
def test_nothing_fails_during_the_notice(
    tiny_bundle: Path, tmp_path: Path, processes: list[Process], streams: ExitStack, workers: int
) -> None:
    flags = "--workers", str(workers), "--drain-notice", str(NOTICE_S), "--admin-insecure", "--admin-port", "0"
    process = Process(tiny_bundle, tmp_path, None, *flags)
    processes.append(process)
    caller, stream = Caller(process.address), Stream(process.stub)
    streams.callback(stream.close)
    admin = streams.enter_context(grpc.insecure_channel(process.admin_address))
    caller.start()
    wait_for(lambda: caller.ended)
    signalled = time.monotonic()
    process.popen.terminate()
    wait_for(lambda: process.health() == NOT_SERVING)
    stream.send(7)
    assert next(stream.replies).sequence == 7
    assert AdminServiceStub(admin).ListVersions(admin_pb2.ListVersionsRequest()).versions
    output, _ = process.popen.communicate(timeout=20)
    caller.stop()
    assert process.popen.returncode == 0, output
    assert output.endswith("drained\n")
    assert "Traceback" not in output
    failed = [each for each in caller.ended if each[1] is not grpc.StatusCode.OK]
    assert all(ended >= signalled + NOTICE_S for ended, _, _ in failed), failed
    assert {code for _, code, _ in failed} <= {grpc.StatusCode.UNAVAILABLE}, failed
    assert any(signalled < ended for ended, code, _ in caller.ended if code is grpc.StatusCode.OK)


@processes_of_workers
def test_what_is_in_flight_is_finished_and_nothing_new_is_taken(
    tiny_bundle: Path, tmp_path: Path, processes: list[Process], streams: ExitStack, workers: int
) -> None:
    go = tmp_path / "go"
    go.touch()
    process = Process(tiny_bundle, tmp_path, command_of_held_model(go), "--workers", str(workers), "--drain-notice", "0")
    processes.append(process)
    children = workers_of(process.popen.pid)
    go.unlink()  # from now on the model holds what it is given
    stream = Stream(process.stub)
    streams.callback(stream.close)
    stream.send(5)
    held = [process.stub.Classify.future(REQUEST) for _ in range(3)]
    process.await_images(4)
    process.popen.terminate()
    wait_for(lambda: process.health() == NOT_SERVING)
    with pytest.raises(grpc.RpcError) as refused:
        process.stub.Classify(REQUEST)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "draining" in (refused.value.details() or "")
    go.touch()
    assert [call.result(10).results[0].answer.label.name for call in held] == ["green"] * len(held)
    assert next(stream.replies).sequence == 5
    with pytest.raises(grpc.RpcError) as ended:
        next(stream.replies)
    assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
    output, _ = process.popen.communicate(timeout=15)
    assert process.popen.returncode == 0, output
    assert output.endswith("drained\n")
    assert "Traceback" not in output
    assert not children & workers_of(process.popen.pid)


def test_a_model_that_hangs_holds_up_no_end(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    go = tmp_path / "go"
    go.touch()
    flags = "--drain-notice", "0", "--drain-grace", "0.1"
    process = Process(tiny_bundle, tmp_path, command_of_held_model(go), *flags)
    processes.append(process)
    go.unlink()
    held = process.stub.Classify.future(REQUEST)
    process.await_images(1)
    status, output = process.end()
    assert status == 1, output
    assert held.code() is not grpc.StatusCode.OK
    assert "hangs" in output
    assert "Traceback" not in output


def test_a_second_ctrl_c_ends_it_at_once_without_a_word(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    process = Process(tiny_bundle, tmp_path, None, "--drain-notice", "3600")
    processes.append(process)
    process.popen.send_signal(signal.SIGINT)
    wait_for(lambda: process.health() == NOT_SERVING)
    status, output = process.end(signal.SIGINT)
    assert status == -signal.SIGINT
    assert output.endswith("draining on SIGINT\n")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full here")
def test_it_serves_and_drains_though_nothing_can_be_printed(
    tiny_bundle: Path, tmp_path: Path, processes: list[Process]
) -> None:
    shell = ["sh", "-c", 'exec "$@" >/dev/full', "sh", sys.executable, "-m", "server"]
    process = Process(tiny_bundle, tmp_path, shell, "--drain-notice", "0")
    processes.append(process)
    assert process.stub.Classify(REQUEST).results[0].answer.label.name == "green"
    status, output = process.end()
    assert status == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize("port_file", ["/proc/nowhere/ports.json", "/dev/null"])
def test_a_port_file_that_cannot_be_written_is_one_line(tiny_bundle: Path, port_file: str) -> None:
    flags = ["--bundle", str(tiny_bundle), "--port", "0", "--metrics-port", "0", "--port-file", port_file]
    result = subprocess.run(
        [sys.executable, "-m", "server", *flags], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=30
    )
    assert result.returncode == 2, result.stderr
    assert port_file.rpartition("/")[0] in one_line(result.stderr)
