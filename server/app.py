"""The server in one process: engine, gRPC skin and metrics on one event loop."""

import asyncio
import json
from pathlib import Path

from holdfast.bundle.reader import Bundle
from holdfast.files import write_atomically
from holdfast.model.classifier import Classifier
from holdfast.server.api.grpc_server import GrpcServer
from holdfast.server.core.engine import Engine, ModelBatcher
from holdfast.server.monitor.metrics import Metrics, MetricsEndpoint
from holdfast.server.settings import Settings


class App:
    """One server over one bundle. Make, start and drain it on one event loop."""

    def __init__(self, settings: Settings, bundle: Bundle) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self._engine = Engine(settings, bundle, self.metrics)
        self._skin = GrpcServer(settings, self._engine.served, self._engine.batcher, self.metrics, self._engine.prober)
        self._endpoint: MetricsEndpoint | None = None

    @property
    def classifier(self) -> Classifier:
        """What answers."""
        return self._engine.classifier

    @property
    def batcher(self) -> ModelBatcher:
        """What feeds it."""
        return self._engine.batcher

    @property
    def address(self) -> str:
        """host:port of gRPC, once started."""
        return f"{self.settings.host}:{self._skin.port}"

    @property
    def metrics_url(self) -> str:
        """Where the metrics are, once started."""
        return self._endpoint.url if self._endpoint else ""

    async def start(self) -> None:
        """Listen, warm up, and only then be healthy.

        Raises:
            HoldfastError: a port is taken.
            EngineError: the model does not answer the canary.

        """
        self._skin.listen()
        self._endpoint = MetricsEndpoint(self.metrics.registry, self.settings.host, self.settings.metrics_port)
        self.batcher.start()
        await self._skin.start()
        if self._engine.prober is not None:
            self._engine.prober.start()
        if self.settings.port_file is not None:
            write_ports(self.settings.port_file, self.address, self.metrics_url)

    async def watch(self) -> None:
        """Never returns; a server of several processes raises HoldfastError where it cannot go on."""
        await asyncio.Event().wait()

    async def drain(self) -> bool:
        """Go down: NOT_SERVING, refuse new calls, finish those in flight, close. Returns whether all were finished."""
        finished = await self._skin.drain()
        self._engine.stop()
        if self._endpoint is not None:
            self._endpoint.close()
        return finished


def write_ports(path: Path, address: str, metrics: str) -> None:
    """Tell scripts where the server is: {"address": "host:port", "metrics": "http://..."}."""
    write_atomically(path, json.dumps({"address": address, "metrics": metrics}).encode())
