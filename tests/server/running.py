"""Real servers on free ports, for tests."""

import asyncio
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
from prometheus_client.parser import text_string_to_metric_families

from bundle.bundle import Bundle
from protos.holdfast.v1.holdfast_pb2_grpc import HoldfastServiceStub
from server.app import App
from server.settings import Settings

T = TypeVar("T")


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

    app: App
    channel: grpc.Channel
    loop: LoopThread

    @property
    def stub(self) -> HoldfastServiceStub:
        return HoldfastServiceStub(self.channel)

    def metric(self, name: str, /, **labels: str) -> float:
        """The sum of one sample over the labels that were not given."""
        with urllib.request.urlopen(self.app.metrics_url, timeout=5) as reply:  # noqa: S310 - our own address
            text = reply.read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


Serve = Callable[..., Served]


def start(stack: ExitStack, loop: LoopThread, directory: Path, **settings: Any) -> Served:
    defaults = {"bundle": directory, "port": 0, "metrics_port": 0, "drain_notice": 0.0, "drain_grace": 5.0}
    configured = Settings(**(defaults | settings))
    app = loop.call(lambda: App(configured, Bundle.open(directory)))
    loop.run(app.start())
    stack.callback(lambda: loop.run(app.drain()))
    channel = stack.enter_context(grpc.insecure_channel(app.address))
    return Served(app, channel, loop)


def refusal(call: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def await_metric(served: Served, name: str, value: float) -> None:
    give_up = time.monotonic() + 5
    while served.metric(name) != value:
        assert time.monotonic() < give_up, f"{name} is {served.metric(name)}, not {value}"
        time.sleep(0.01)
