"""The server in one process: engine, gRPC server and metrics on one event loop."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from holdfast.files import write_atomically
from holdfast.server.api.api import Api
from holdfast.server.api.grpc_server import GrpcServer
from holdfast.server.api.table import APIS
from holdfast.server.core.batching import Batcher
from holdfast.server.core.engine import Engine
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.observers import MakeObserver
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.endpoint import MetricsEndpoint
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.monitor.table import OBSERVERS
from holdfast.server.settings import Settings
from holdfast.server.versions.loading import LoadedVersion
from holdfast.server.versions.manager import VersionManager
from holdfast.server.versions.watcher import VersionWatcher


class ServedApp:
    """What a server has in one process or in several: settings, a holder of the model, metrics and where these are read."""

    def __init__(self, settings: Settings, holder: ModelHolder, metrics: Metrics, first: LoadedVersion | None = None) -> None:
        self.settings, self.holder, self.metrics = settings, holder, metrics
        self._endpoint: MetricsEndpoint | None = None
        self.versions = VersionManager(settings, holder, metrics, first)
        self._watcher = VersionWatcher(self.versions, settings.watch_interval if settings.bundle_versions else 0.0)

    @property
    def metrics_url(self) -> str:
        """Where the metrics are, once started."""
        return self._endpoint.url if self._endpoint else ""

    def publish(self, snapshot: ModelSnapshot) -> None:
        """Serve another model from the next batch on. Any thread may; arguments and errors as ModelHolder.publish."""
        self.holder.publish(snapshot)

    def request_reload(self) -> None:
        """Reload soon, or as soon as the server has started. To be called on its event loop."""
        self._watcher.request()

    async def _stop_versions(self) -> None:
        await self._watcher.stop()
        await self.versions.stop()


class App(ServedApp):
    """One server over one holder. Make, start and drain it on one event loop.

    Raises HoldfastError where the model will not do for what the settings ask.
    """

    def __init__(
        self,
        settings: Settings,
        holder: ModelHolder,
        *,
        first: LoadedVersion | None = None,
        apis: Sequence[Api] = APIS,
        observers: Sequence[MakeObserver] = OBSERVERS,
    ) -> None:
        super().__init__(settings, holder, Metrics(), first)
        self._engine = Engine(settings, holder, self.metrics, observers)
        self._server = GrpcServer(settings, self._engine.batcher, self.metrics, apis)

    @property
    def batcher(self) -> Batcher:
        """What feeds the model."""
        return self._engine.batcher

    @property
    def address(self) -> str:
        """host:port of gRPC, once started."""
        return f"{self.settings.host}:{self._server.port}"

    async def start(self) -> None:
        """Listen, warm up, and only then be healthy.

        Raises:
            HoldfastError: a port is taken.
            EngineError: the model does not answer the canary.

        """
        self._server.listen()
        self._endpoint = MetricsEndpoint(self.metrics.registry, self.settings.host, self.settings.metrics_port)
        self._engine.start()
        await self._server.start()
        self._watcher.start()
        if self.settings.port_file is not None:
            write_ports(self.settings.port_file, self.address, self.metrics_url)

    async def watch(self) -> None:
        """Never returns; a server of several processes raises HoldfastError where it cannot go on."""
        await asyncio.Event().wait()

    async def drain(self) -> bool:
        """Go down: NOT_SERVING, refuse new calls, finish those in flight, close. Returns whether all were finished."""
        await self._stop_versions()
        finished = await self._server.drain()
        self._engine.stop()
        if self._endpoint is not None:
            self._endpoint.close()
        return finished


def write_ports(path: Path, address: str, metrics: str) -> None:
    """Write for scripts where the server is: {"address": "host:port", "metrics": "http://..."}."""
    write_atomically(path, json.dumps({"address": address, "metrics": metrics}).encode())
