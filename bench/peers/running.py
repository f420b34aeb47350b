"""A peer, or holdfast, started as its operator would start it, until it gives its first answer."""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.harness.server_process import Server
from bench.peers.calling import CallFailedError, make_caller
from bench.peers.environments import python_of
from bench.peers.payload import Payload
from bench.peers.processes import MARK, ProcessGroup
from bench.peers.table import Peer
from holdfast.errors import HoldfastError

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 120.0
PORTS = 4
"""In a row, that a peer may listen on."""


@dataclass(frozen=True)
class Setup:
    """What every server is told.

    Attributes:
        bundle: that is served.
        payload: file of images and labels.
        cache: of environments.
        batch: most images in one.
        wait: seconds for a batch to fill.
        deadline: of callers, in seconds, where they ask for more than can be answered.

    """

    bundle: Path
    payload: Path
    cache: Path
    batch: int = 64
    wait: float = 0.01
    deadline: float = 0.5


@dataclass(frozen=True)
class RunningPeer:
    """A server that answers.

    Attributes:
        peer: which.
        address: host:port.
        metrics: address of holdfast's metrics; "" of others.
        group: its processes.
        start_seconds: from its start to its first answer.

    """

    peer: Peer
    address: str
    metrics: str
    group: ProcessGroup
    start_seconds: float


@contextmanager
def running(peer: Peer, setup: Setup) -> Iterator[RunningPeer]:
    """Starts it, yields when it has answered once, and ends all of its processes.

    Raises:
        NotInstalledError: of environments.
        HoldfastError: it does not start, or does not answer.

    """
    python, port = python_of(peer.requirements, setup.cache), _free_ports()
    group = ProcessGroup(secrets.token_hex(8))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        log = folder / "log"
        began = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(python), *_arguments(peer, setup, port)],
                cwd=folder,
                env=_environment(group.mark),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        stack.callback(process.wait)
        stack.callback(group.end)
        address = f"127.0.0.1:{port + peer.port_offset}"
        asyncio.run(_first_answer(peer, address, Payload.load(setup.payload).files[0], process, log))
        seconds = time.monotonic() - began
        metrics = "" if peer.module else f"http://127.0.0.1:{port + 1}/metrics"
        if metrics:
            _wait_for_metrics(Server(address, metrics))
        yield RunningPeer(peer, address, metrics, group, seconds)


def _arguments(peer: Peer, setup: Setup, port: int) -> list[str]:
    if peer.module:
        words: list[object] = ["-m", "bench.peers.servers", peer.module, "--bundle", setup.bundle, "--port", port]
        return [*map(str, [*words, "--batch", setup.batch, "--wait", setup.wait, "--deadline", setup.deadline])]
    words = ["-m", "holdfast", "serve", "--bundle", setup.bundle, "--port", port, "--metrics-port", port + 1]
    return [*map(str, [*words, "--max-batch", setup.batch, "--max-wait", setup.wait])]


def _environment(mark: str) -> dict[str, str]:
    """That of this process, so threads and kernels are the same for all, and modules are found; with the mark."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HOLDFAST_", "BENCH_"))}
    # PyTriton's server runs the Python library that it finds by this path, which has to be the interpreter's own.
    library = sysconfig.get_config_var("LIBDIR")
    return inherited | {MARK: mark, "PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": f"{library}"}


def _free_ports() -> int:
    """The first of some in a row that nobody listens on."""
    for _ in range(100):
        with ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                for other in range(1, PORTS):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port + other))
            except OSError:
                continue
            return port
    raise HoldfastError(f"no {PORTS} free ports in a row")


async def _first_answer(peer: Peer, address: str, file: bytes, process: "subprocess.Popen[bytes]", log: Path) -> None:
    body = peer.wire.body([file])
    request = body if peer.wire.transport == "grpc" else peer.wire.http_request(body, address)
    end = time.monotonic() + START_TIMEOUT_S
    while True:
        # A gRPC channel waits ever longer between attempts to connect: a new one does not.
        caller = make_caller(peer.wire, address)
        try:
            await caller.call(request, 10.0)
        except CallFailedError as failure:
            if process.poll() is not None or time.monotonic() > end:
                raise HoldfastError(f"{peer.title} did not start ({failure}): {_said(log)}") from None
        else:
            return
        finally:
            await caller.close()
        await asyncio.sleep(0.02)


def _wait_for_metrics(server: Server) -> None:
    """Calls are answered a little before metrics are."""
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        try:
            server.scrape()
        except OSError:
            time.sleep(0.05)
        else:
            return


def _said(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-2000:]


def load_command(server: RunningPeer, setup: Setup, **flags: object) -> list[str]:
    """The command that asks it; flags as python -m bench.peers.load has them."""
    words: list[object] = [sys.executable, "-m", "bench.peers.load", "--peer", server.peer.name, "--address", server.address]
    words += ["--payload", setup.payload, "--mark", server.group.mark, "--metrics", server.metrics]
    words += ["--deadline", setup.deadline]
    for name, value in flags.items():
        words += [f"--{name}", value]
    return [*map(str, words)]
