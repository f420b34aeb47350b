"""python -m server --workers N as processes: the same answers, and what happens when one of them dies."""

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from holdfast.errors import HoldfastError
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from holdfast.protos.holdfast.v1.holdfast_pb2_grpc import HoldfastServiceStub
from holdfast.server.core.holder import ModelHolder
from holdfast.server.settings import ConfigurationError, Settings, load_settings
from holdfast.server.workers import worker_process
from holdfast.server.workers.app import WorkersApp
from holdfast.server.workers.port import Port
from tests.refusals import one_line
from tests.server.pages import check_formats
from tests.server.running import (
    REPOSITORY,
    LoopThread,
    Process,
    Serve,
    command_of_held_model,
    snapshot_of,
    wait_for,
    workers_of,
)
from tests.server.tiny import K, coloured, png, raw

REQUEST = pb.ClassifyRequest(images=[raw(coloured(1, 1, seed=1)[0])])
TWO_WORKERS = "--workers", "2", "--drain-notice", "0"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers share a port as Linux does it")


@pytest.fixture(scope="module")
def with_workers(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One server with two workers, for tests that leave it as it was."""
    process = Process(tiny_bundle, tmp_path_factory.mktemp("with_workers"), None, *TWO_WORKERS)
    yield process
    process.discard()


@pytest.fixture(scope="module")
def alone(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The same server in one process."""
    process = Process(tiny_bundle, tmp_path_factory.mktemp("alone"), None, "--drain-notice", "0")
    yield process
    process.discard()


def connections(process: Process, count: int = 16) -> list[grpc.Channel]:
    """Connections of their own: the kernel spreads them over the workers."""
    return [grpc.insecure_channel(process.address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(count)]


@contextmanager
def connection_to_each(process: Process) -> Iterator[dict[str, grpc.Channel]]:
    """A connection to every worker, by its name."""
    found: dict[str, grpc.Channel] = {}
    with ExitStack() as stack:
        while len(found) < 2:
            (channel,) = connections(process, 1)
            stack.enter_context(channel)
            before = samples(process, "grpc_server_started_total")
            HoldfastServiceStub(channel).GetModelInfo(pb.GetModelInfoRequest())
            after = samples(process, "grpc_server_started_total")
            (name,) = (name for name in after if after[name] > before.get(name, 0))
            found.setdefault(name, channel)
        yield found


def samples(process: Process, name: str) -> dict[str, float]:
    """The sum of a sample over its labels, by process."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(process.scrape()):
        for sample in family.samples:
            if sample.name == name:
                where = sample.labels["process"]
                found[where] = found.get(where, 0) + sample.value
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_workers_answer_as_one_process_does(with_workers: Process, alone: Process) -> None:
    images = [image for label in range(3) for image in coloured(label, 7, seed=40 + label)]
    large = np.repeat(np.repeat(images[0], 20, axis=0), 20, axis=1)  # decoded on a thread
    sent = [
        *map(raw, images),
        *(image_pb2.Image(encoded=png(image, kind)) for image in images[::5] for kind in ("PNG", "JPEG")),
    ]
    sent += [raw(large), image_pb2.Image(encoded=png(large)), image_pb2.Image(encoded=b"no image"), image_pb2.Image()]
    requests = [
        *(pb.ClassifyRequest(images=sent, neighbours=count) for count in (0, 2, K, 1000)),
        *(pb.ClassifyRequest(images=[image], neighbours=3) for image in sent[::6]),
        pb.ClassifyRequest(images=sent * 5),  # more than two batches
    ]
    with connection_to_each(with_workers) as channels:
        assert sorted(channels) == ["worker-0", "worker-1"]
        for channel in channels.values():
            stub = HoldfastServiceStub(channel)
            for request in requests:
                assert stub.Classify(request) == alone.stub.Classify(request)
            assert stub.Embed(pb.EmbedRequest(images=sent)) == alone.stub.Embed(pb.EmbedRequest(images=sent))
            assert stub.GetModelInfo(pb.GetModelInfoRequest()) == alone.stub.GetModelInfo(pb.GetModelInfoRequest())
            messages = [pb.ClassifyStreamRequest(sequence=n, images=[sent[n]], neighbours=n) for n in range(len(sent))]
            streamed = [{r.sequence: r for r in s.ClassifyStream(iter(messages), timeout=20)} for s in (stub, alone.stub)]
            assert streamed[0].keys() == streamed[1].keys() == set(range(len(sent)))


@pytest.mark.parametrize("which", ["alone", "with_workers"])
def test_a_stream_goes_on_after_a_bad_message(which: str, request: pytest.FixtureRequest) -> None:
    process: Process = request.getfixturevalue(which)
    messages = [
        pb.ClassifyStreamRequest(sequence=1, images=REQUEST.images),
        pb.ClassifyStreamRequest(sequence=2, images=[image_pb2.Image(encoded=b"no image")]),
        pb.ClassifyStreamRequest(sequence=3),
        pb.ClassifyStreamRequest(sequence=4, images=REQUEST.images, neighbours=1),
    ]
    replies = {reply.sequence: reply for reply in process.stub.ClassifyStream(iter(messages))}
    assert replies[1].results[0].answer.label.name == replies[4].results[0].answer.label.name == "green"
    assert "not a PNG" in replies[2].results[0].error.message
    assert "images" in replies[3].error.message
    assert len(replies[4].results[0].answer.neighbours) == 1


@pytest.mark.parametrize("which", ["alone", "with_workers"])
@pytest.mark.parametrize("images", [0, 1, 257])
def test_what_is_wrong_with_a_call_is_said(which: str, images: int, request: pytest.FixtureRequest) -> None:
    process: Process = request.getfixturevalue(which)
    with pytest.raises(grpc.RpcError) as caught:
        process.stub.Classify(pb.ClassifyRequest(images=[image_pb2.Image(encoded=b"no image")] * images))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert ("images[0].encoded" if images == 1 else f"has {images} images") in (caught.value.details() or "")


def test_every_worker_is_healthy(with_workers: Process) -> None:
    for channel in connections(with_workers):
        with channel:
            for service in ("", "holdfast.v1.HoldfastService"):
                status = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service)).status
                assert status == health_pb2.HealthCheckResponse.SERVING


def test_every_series_says_of_which_process_it_is(with_workers: Process) -> None:
    for channel in connections(with_workers):
        with channel:
            HoldfastServiceStub(channel).Classify(REQUEST)
    families = {family.name: family for family in text_string_to_metric_families(with_workers.scrape())}
    everybody = {"engine", "worker-0", "worker-1"}
    assert all(sample.labels["process"] in everybody for family in families.values() for sample in family.samples)
    assert all(family.documentation for family in families.values())
    whose = {name: {sample.labels["process"] for sample in family.samples} for name, family in families.items()}
    for name in ("process_resident_memory_bytes", "holdfast_admitted_images", "holdfast_refused_images"):
        assert whose[name] == everybody, name
    for name in ("grpc_server_handled", "grpc_server_handling_seconds"):
        assert whose[name] == {"worker-0", "worker-1"}, name
    for name in ("holdfast_bundle_info", "holdfast_device_info", "holdfast_batch_images", "holdfast_queue_wait_seconds"):
        assert whose[name] == {"engine"}, name
    for name in ("holdfast_soft_margin", "holdfast_credibility", "holdfast_abstain"):
        assert whose[name] == {"engine"}, name
    answered = samples(with_workers, "holdfast_credibility_count")
    assert sum(answered.values()) >= 16
    # Twice two canaries, of 1 and of a full batch, and what was answered.
    assert sum(samples(with_workers, "holdfast_batch_images_sum").values()) >= 2 * (1 + 64) + sum(answered.values())


def test_metrics_of_several_processes_are_valid(with_workers: Process) -> None:
    check_formats(with_workers.metrics_url)


def test_a_worker_has_loaded_neither_model_nor_index(with_workers: Process) -> None:
    for channel in connections(with_workers):
        with channel:
            HoldfastServiceStub(channel).Classify(pb.ClassifyRequest(images=REQUEST.images, neighbours=3))
    workers = workers_of(with_workers.popen.pid)
    assert len(workers) == 2
    loaded = {pid: Path(f"/proc/{pid}/maps").read_text() for pid in {with_workers.popen.pid, *workers}}
    for name in ("onnxruntime", "faiss"):
        assert name in loaded[with_workers.popen.pid]
        assert not any(name in loaded[pid] for pid in workers)
    assert not any("libtorch" in maps for maps in loaded.values())


def test_a_workers_modules_are_few() -> None:
    code = """
        import sys
        import holdfast.server.workers.worker
        heavy = {"onnxruntime", "faiss", "torch", "holdfast.bundle.reader", "holdfast.model.classifier"}
        print(sorted(heavy & sys.modules.keys()))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_workers_load_our_modules_whatever_lies_in_the_current_folder(
    tiny_bundle: Path, tmp_path: Path, processes: list[Process]
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in ("holdfast", "server", "grpc", "numpy", "signal"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('loaded {name} of the current folder')")
    code = f"""
        import sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from holdfast.server.__main__ import main
        sys.exit(main())
    """
    command = [sys.executable, "-P", "-c", textwrap.dedent(code)]
    process = Process(tiny_bundle, tmp_path, command, *TWO_WORKERS, cwd=folder)
    processes.append(process)
    for pid in workers_of(process.popen.pid):
        # This checkout's, which an installed holdfast would otherwise take the place of.
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert any(entry.startswith(f"PYTHONPATH={REPOSITORY}".encode()) for entry in environment)
    assert process.stub.Classify(REQUEST).results[0].answer.label.name == "green"
    status, output = process.end()
    assert status == 0, output
    assert "of the current folder" not in output


def test_workers_that_end_are_replaced(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    probing = "--probe-rate", "1", "--probe-budget", "1", "--probe-steps", "1"
    process = Process(tiny_bundle, tmp_path, None, *TWO_WORKERS, *probing, session=True)
    processes.append(process)
    before = workers_of(process.popen.pid)
    for victim, how in zip(sorted(before), (signal.SIGKILL, signal.SIGTERM), strict=True):
        os.kill(victim, how)
    wait_for(lambda: len(workers_of(process.popen.pid) - before) == 2)
    wait_for(lambda: samples(process, "process_start_time_seconds").keys() == {"engine", "worker-0", "worker-1"})
    for channel in connections(process):
        with channel:
            assert HoldfastServiceStub(channel).Classify(REQUEST).results[0].answer.label.name == "green"
    wait_for(lambda: samples(process, "holdfast_probe_total").get("engine", 0) > 0)
    os.killpg(process.popen.pid, signal.SIGINT)  # Ctrl-C reaches every process of the terminal
    output, _ = process.popen.communicate(timeout=15)
    assert process.popen.returncode == 0, output
    assert re.search(rf"{process.address}.* 2 ", output)
    assert "SIGKILL" in output
    assert "exit status 0" in output
    assert "SIGINT" in output
    assert output.endswith("drained\n")
    assert "Traceback" not in output
    assert all(gone(pid) for pid in before)


def holding(bundle: Path, scratch: Path, processes: list[Process], *flags: str) -> tuple[Process, Any]:
    """A server of two workers whose model has a call and does not answer it."""
    go = scratch / "go"
    go.touch()
    process = Process(bundle, scratch, command_of_held_model(go), *TWO_WORKERS, "--canary-interval", "3600", *flags)
    processes.append(process)
    go.unlink()
    held = process.stub.Classify.future(REQUEST)
    process.await_images(1)
    return process, held


def test_workers_do_not_outlive_their_engine(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    process, held = holding(tiny_bundle, tmp_path, processes)
    workers = workers_of(process.popen.pid)
    process.popen.kill()
    process.popen.communicate()
    wait_for(lambda: all(map(gone, workers)))
    assert held.code() == grpc.StatusCode.UNAVAILABLE


def test_calls_beyond_the_grace_are_cut_off(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    process, held = holding(tiny_bundle, tmp_path, processes, "--drain-grace", "0.1")
    status, output = process.end()
    assert (status, held.code()) != (0, grpc.StatusCode.OK), output
    assert "cut off" in output


def test_it_can_be_ended_while_its_workers_warm_up(tiny_bundle: Path, tmp_path: Path) -> None:
    flags = ["--bundle", str(tiny_bundle), "--port", "0", "--metrics-port", "0", *TWO_WORKERS]
    go = tmp_path / "go"
    with subprocess.Popen(
        [*command_of_held_model(go), *flags],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as popen:
        wait_for(lambda: len(workers_of(popen.pid)) == 2)
        workers = workers_of(popen.pid)
        os.killpg(popen.pid, signal.SIGINT)
        go.touch()
        output, _ = popen.communicate(timeout=20)
    assert popen.returncode == 0, output
    assert "SIGINT" in output
    assert "Traceback" not in output
    assert all(map(gone, workers))


def test_a_port_is_no_secret_between_servers(with_workers: Process, tiny_bundle: Path, serve: Serve) -> None:
    port = with_workers.address.split(":")[1]
    command = [sys.executable, "-m", "server", "--bundle", str(tiny_bundle), "--port", port, "--workers", "2"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=30)
    assert result.returncode == 2, result.stderr
    assert f"127.0.0.1:{port}" in result.stderr
    one_line(result.stderr)
    with pytest.raises(HoldfastError, match="127.0.0.1"):
        serve(port=int(port))


def test_workers_that_never_become_ready_are_the_end(
    tiny_bundle: Path, loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(bundle=tiny_bundle, port=0, metrics_port=0, workers=1, drain_notice=0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]

        class Taken(Port):
            @classmethod
            def take(cls, host: str, port: int) -> "Taken":
                made = cls([socket.socket()])
                made.number = number
                return made

        monkeypatch.setattr("holdfast.server.workers.app.Port", Taken)
        monkeypatch.setattr("holdfast.server.workers.pool.ATTEMPTS", 1)
        reason = failure_of(settings, loop_thread)
        assert "worker-0" in reason
        assert "cannot listen on 127.0.0.1" in reason
    monkeypatch.undo()
    monkeypatch.setattr("holdfast.server.workers.pool.FIRST_PAUSE_S", 0)
    monkeypatch.setattr(worker_process.sys, "executable", "/nowhere/python")
    assert "Errno 2" in failure_of(settings, loop_thread)
    monkeypatch.setattr(worker_process.sys, "executable", "/bin/false")
    reason = failure_of(settings, loop_thread)
    for part in ("worker-0", "3 times", "exit status 1"):
        assert part in reason


def test_a_worker_that_cannot_be_replaced_is_the_end(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    code = """
        import sys
        from holdfast.server import __main__
        from holdfast.server.workers.worker_process import WorkerProcess
        start = WorkerProcess.start
        async def only_once(worker):
            await start(worker)
            sys.executable = "/bin/false"
        WorkerProcess.start = only_once
        sys.exit(__main__.main())
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    process = Process(tiny_bundle, tmp_path, command, "--workers", "1", "--drain-notice", "0")
    processes.append(process)
    (worker,) = workers_of(process.popen.pid)
    os.kill(worker, signal.SIGKILL)
    output, _ = process.popen.communicate(timeout=15)
    assert process.popen.returncode == 2, output
    for part in ("worker-0", "3 times", "exit status 1"):
        assert part in output.splitlines()[-1]
    assert "Traceback" not in output


def failure_of(settings: Settings, loop: LoopThread) -> str:
    app = loop.call(lambda: WorkersApp(settings, ModelHolder(snapshot_of(settings.bundle))))
    with pytest.raises(HoldfastError) as caught:
        loop.run(app.start())
    loop.run(app.drain())
    return str(caught.value)


def test_workers_are_refused_where_they_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.server.settings.sys.platform", "win32")
    with pytest.raises(ConfigurationError, match="Linux"):
        load_settings(["--bundle", "x", "--workers", "2"], {})


def test_the_module_of_a_worker_explains_itself() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "holdfast.server.workers"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "--workers" in result.stderr
