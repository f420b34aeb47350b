"""Nothing that holdfast runs reports to anybody, or leaves anything under the home directory."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.server.running import REPOSITORY, Process, wait_for
from tests.tracing import tracing

# What a caller of the library does, without a program that could set the environment first.
LIBRARY = "import sys; from holdfast.bundle.reader import Bundle; Bundle.open(sys.argv[1])"

# A server with a worker, in a network of its own that has nothing but a loopback.
ALONE = """
    import fcntl, socket, struct, sys
    from pathlib import Path
    from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
    from tests.server.running import Process
    from tests.server.tiny import coloured, raw
    up_and_running = struct.pack("16sh14x", b"lo", 0x1 | 0x40)
    fcntl.ioctl(socket.socket(), 0x8914, up_and_running)  # SIOCSIFFLAGS
    process = Process(Path(sys.argv[1]), Path(sys.argv[2]), None, "--workers", "1", "--drain-notice", "0")
    try:
        answer = process.stub.Classify(pb.ClassifyRequest(images=[raw(coloured(1, 1, seed=1)[0])])).results[0].answer
        assert answer.label.name == "green"
        status, output = process.end()
    finally:
        process.discard()
    assert status == 0, output
"""


def environment_of(home: Path) -> dict[str, str]:
    """As a service has it, which nobody has told of telemetry."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_", "HOLDFAST_"))}
    return kept | {"HOME": str(home)}


def python_alone(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """A Python without a network and with a home directory that cannot be made."""
    command = ["unshare", "-rn", sys.executable, *arguments]
    alone = environment_of(Path("/dev/null/home")) | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, cwd=REPOSITORY, env=alone, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("arguments", [("-c", LIBRARY), ("-m", "holdfast", "bundle", "check")], ids=["library", "command"])
def test_the_home_directory_stays_as_it_was(tiny_bundle: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, *arguments, str(tiny_bundle)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment_of(home), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []


def test_a_server_and_its_workers_need_neither_network_nor_home(tiny_bundle: Path, tmp_path: Path) -> None:
    if shutil.which("unshare") is None or python_alone("-c", "").returncode:
        pytest.skip("a network of one's own cannot be had here")
    done = python_alone("-c", textwrap.dedent(ALONE), str(tiny_bundle), str(tmp_path))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_server_looks_up_no_host(tiny_bundle: Path, tmp_path: Path, processes: list[Process]) -> None:
    process = Process(tiny_bundle, tmp_path)
    processes.append(process)
    log = tmp_path / "calls"
    with tracing(process.popen.pid, log, "-e", "trace=connect,sendto,sendmmsg"):
        # With its telemetry on, ONNX Runtime asks for the address of its host after five to ten seconds.
        until = time.monotonic() + 15
        wait_for(lambda: process.health() and time.monotonic() > until, 30)
    text = log.read_text()
    assert not re.findall(r"sin_port=htons\(53\)|nscd", text), text
