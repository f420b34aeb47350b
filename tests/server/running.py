"""Real servers on free ports, for tests."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from holdfast.bundle.reader import Bundle
from holdfast.protos.holdfast.v1.holdfast_pb2_grpc import HoldfastServiceStub
from holdfast.server.app import App
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.run import make_app
from holdfast.server.settings import Settings
from holdfast.server.versions.loading import load_first
from holdfast.server.workers.app import WorkersApp

T = TypeVar("T")
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
REPOSITORY = Path(__file__).parents[2]


def scrape(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 - our own address
        return str(reply.read(), "utf-8")


def metric_of(text: str, name: str, /, **labels: str) -> float:
    """The sum of one sample over the labels that were not given."""
    # Whoever waits for a value asks again and again, and all that a server shows takes 20 times as long to parse.
    asked = "".join(line for line in text.splitlines(keepends=True) if line.startswith((f"{name} ", f"{name}{{")))
    return sum(
        sample.value
        for family in text_string_to_metric_families(asked)
        for sample in family.samples
        if labels.items() <= sample.labels.items()
    )


class LoopThread:
    """One event loop, on a thread, for every server of the tests: gRPC's asyncio wants one loop in a process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def call(self, function: Callable[[], T]) -> T:
        async def on_loop() -> T:
            return function()

        return self.run(on_loop())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class Served:
    """A running server, a client's stub, and its metrics."""

    app: App | WorkersApp
    channel: grpc.Channel
    loop: LoopThread

    @property
    def stub(self) -> HoldfastServiceStub:
        return HoldfastServiceStub(self.channel)

    def metric(self, name: str, /, **labels: str) -> float:
        """The sum of one sample over the labels that were not given."""
        return metric_of(scrape(self.app.metrics_url), name, **labels)


class Process:
    """A server process on free ports."""

    def __init__(
        self,
        directory: Path | None,
        scratch: Path,
        command: list[str] | None = None,
        *flags: str,
        cwd: Path = REPOSITORY,
        session: bool = False,
    ) -> None:
        ports = scratch / "ports.json"
        self.popen = subprocess.Popen(
            [
                *(command or [sys.executable, "-m", "server"]),
                *(() if directory is None else ("--bundle", str(directory))),
                *("--port", "0", "--metrics-port", "0", "--port-file", str(ports)),
                *flags,
            ],
            cwd=cwd,
            env={k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=session,
        )
        give_up = time.monotonic() + 60
        while not ports.exists():
            assert self.popen.poll() is None, self.popen.communicate()[0]
            assert time.monotonic() < give_up
            time.sleep(0.02)
        where = json.loads(ports.read_text())
        self.metrics_url: str = where["metrics"]
        self.address: str = where["address"]
        self.admin_address: str = where.get("admin", "")
        self.channel = grpc.insecure_channel(self.address)
        self.stub = HoldfastServiceStub(self.channel)

    def health(self) -> Any:
        return health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest()).status

    def scrape(self) -> str:
        return scrape(self.metrics_url)

    def metric(self, name: str, /, **labels: str) -> float:
        """The sum of one sample over the labels that were not given."""
        return metric_of(self.scrape(), name, **labels)

    def await_images(self, images: int) -> None:
        """Until so many have reached the engine and are not answered."""
        # Of several processes the engine's own count: a worker has counted an image before the engine has it.
        wait_for(lambda: self._engine_images() == images)

    def _engine_images(self) -> float:
        text = self.scrape()
        return metric_of(text, "holdfast_admitted_images", **({"process": "engine"} if 'process="engine"' in text else {}))

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.popen.send_signal(how)
        output, _ = self.popen.communicate(timeout=30)
        self.channel.close()
        return self.popen.returncode, output

    def discard(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.communicate()
        self.channel.close()


def command_of_held_model(go: Path) -> list[str]:
    """python -m server whose model answers nothing before the file `go` is there: until then it warms up."""
    code = """
        import sys, time
        from pathlib import Path
        from holdfast.server import __main__
        from holdfast.server.core.snapshot import ModelSnapshot
        go, retrieve = Path(sys.argv.pop(1)), ModelSnapshot.retrieve
        def held(snapshot, images):
            while not go.exists():
                time.sleep(0.01)
            return retrieve(snapshot, images)
        ModelSnapshot.retrieve = held
        sys.exit(__main__.main())
    """
    return [sys.executable, "-c", textwrap.dedent(code), str(go)]


Serve = Callable[..., Served]


def workers_of(engine: int) -> set[int]:
    """The processes whose parent is this one."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # pid (name) state ppid ...; the name may hold anything, parentheses too
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == engine and state != "Z":
            found.add(int(status.parent.name))
    return found


def free_port() -> int:
    """A port of 127.0.0.1 that nobody had a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def snapshot_of(directory: Path, version: int = 1, **opening: Any) -> ModelSnapshot:
    return ModelSnapshot.of(Bundle.open(directory, **opening), version)


def start(
    stack: ExitStack, loop: LoopThread, directory: Path | None, parts: dict[str, Any] | None = None, **settings: Any
) -> Served:
    """A server in this process, which ends with the stack. `parts`: its APIs and observers, where they are others.

    Without a `directory` the settings say where versions lie.
    """
    defaults = {"bundle": directory, "port": 0, "metrics_port": 0, "drain_notice": 0.0, "drain_grace": 5.0}
    configured = Settings(**(defaults | settings))
    app = loop.call(lambda: make_app(configured, load_first(configured), **(parts or {})))
    stack.callback(lambda: loop.run(app.drain()))
    loop.run(app.start())
    channel = stack.enter_context(grpc.insecure_channel(app.address))
    return Served(app, channel, loop)


def refusal(call: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def wait_for(condition: Callable[[], object], seconds: float = 15) -> None:
    """Poll until it is so; fail where that takes longer."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come to pass"
        time.sleep(0.01)


def await_metric(served: Served, name: str, value: float, /, **labels: str) -> None:
    give_up = time.monotonic() + 10
    while served.metric(name, **labels) != value:
        assert time.monotonic() < give_up, f"{name} is {served.metric(name, **labels)}, not {value}"
        time.sleep(0.01)
