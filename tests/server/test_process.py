"""python -m server as a process: starting, signals, and an environment without torch."""

import os
import signal
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from tests.refusals import one_line
from tests.server.running import NOT_SERVING, REPOSITORY, Process, command_of_held_model, free_port, wait_for
from tests.server.tiny import coloured, raw

REQUEST = pb.ClassifyRequest(images=[raw(coloured(1, 1, seed=1)[0])])

# Makes torch and everything that trains unimportable, as in an environment of the serve extra alone.
WITHOUT_TORCH = """
    import sys
    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in {"torch", "torchvision", "trainer", "index_build", "onnx", "sklearn", "tyro", "rich"}:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.meta_path.insert(0, Absent())
    import runpy
    sys.argv = ["server", *sys.argv[1:]]
    runpy.run_module("server", run_name="__main__", alter_sys=True)
"""


def policies(process: Process) -> set[int]:
    """How the threads of a server are scheduled."""
    return {os.sched_getscheduler(int(thread.name)) for thread in Path(f"/proc/{process.popen.pid}/task").iterdir()}


def test_it_starts_says_where_it_is_and_ends(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    process = Process(tiny_bundle, tmp_path)
    processes.append(process)
    assert process.stub.Classify(REQUEST).results[0].answer.label.name == "green"
    assert policies(process) == {os.SCHED_OTHER, os.SCHED_BATCH}
    assert os.sched_getscheduler(process.popen.pid) == os.SCHED_OTHER  # the event loop
    text = process.scrape()
    assert "process_resident_memory_bytes" in text
    assert "holdfast_bundle_info{" in text
    status, output = process.end(signal.SIGINT)
    assert status == 0, output
    for part in ("tiny", "3 classes", "60 exemplars", process.address):
        assert part in output
    assert process.metrics_url in output
    assert "Traceback" not in output


def test_a_signal_may_come_as_soon_as_the_ports_are_told(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    process = Process(tiny_bundle, tmp_path, None, "--drain-notice", "0", "--no-batch-scheduling")
    processes.append(process)
    assert policies(process) == {os.SCHED_OTHER}
    status, output = process.end()
    assert status == 0, output
    assert "SIGTERM" in output
    assert "drained" in output


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_warms_up_ends_it_cleanly(tiny_bundle: Path, tmp_path: Path, how: signal.Signals) -> None:
    port, ports, go = free_port(), tmp_path / "ports.json", tmp_path / "go"
    command = [*command_of_held_model(go), "--bundle", str(tiny_bundle), "--drain-notice", "0"]
    with (
        subprocess.Popen(
            [*command, "--port", str(port), "--metrics-port", "0", "--port-file", str(ports)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as popen,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        try:
            request = health_pb2.HealthCheckRequest()
            status = health_pb2_grpc.HealthStub(channel).Check(request, wait_for_ready=True, timeout=60).status
            popen.send_signal(how)
            go.touch()
            output, _ = popen.communicate(timeout=60)
        finally:
            popen.kill()  # or the end of the block would wait for it for ever
    assert status == NOT_SERVING
    assert popen.returncode == 0, output
    assert how.name in output
    assert "drained" not in output
    assert "Traceback" not in output
    assert not ports.exists()


def test_a_bundle_that_will_not_do_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server", "--bundle", str(tmp_path / "nowhere")]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "nowhere" in result.stderr
    one_line(result.stderr)


def test_it_serves_without_torch(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WITHOUT_TORCH)]
    process = Process(tiny_bundle, tmp_path, command, "--probe-rate", "1", "--probe-budget", "1")
    processes.append(process)
    assert process.stub.Classify(REQUEST).results[0].answer.label.name == "green"
    wait_for(lambda: process.metric("holdfast_probe_total", attack="pgd") > 0)
    status, output = process.end()
    assert status == 0, output


def test_libraries_are_loaded_after_their_environment_is_set() -> None:
    # An OpenMP thread of faiss that spins would take a whole core from the others.
    code = """
        import contextlib, runpy, sys
        sys.argv = ["server", "--help"]
        with contextlib.suppress(SystemExit):
            runpy.run_module("server", run_name="__main__", alter_sys=True)
        import faiss
        print(faiss.omp_get_max_threads())
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "HOLDFAST_"))}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split()[-1] == "1"


@pytest.mark.slow
def test_it_serves_from_the_serve_extra_alone(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    """A fresh virtual environment with the serve extra and nothing else: torch is not there to be imported."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", f"{REPOSITORY}[serve]"], check=True)
    assert subprocess.run([python, "-c", "import torch"], cwd=tmp_path, capture_output=True, check=False).returncode != 0
    process = Process(tiny_bundle, tmp_path, [str(python), "-m", "server"], cwd=tmp_path)
    processes.append(process)
    assert process.stub.Classify(REQUEST).results[0].answer.label.name == "green"
    assert process.end()[0] == 0
