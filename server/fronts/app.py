"""The server in several processes: the engine here, fronts that take the calls."""

import asyncio

from prometheus_client import CollectorRegistry

from bundle.bundle import Bundle
from server.app import write_ports
from server.engine import Engine
from server.fronts.child import Child
from server.fronts.control import Begin
from server.fronts.desk import Desk
from server.fronts.port import Port
from server.fronts.samples import EveryProcess
from server.fronts.supervisor import Fronts
from server.metrics import Metrics, MetricsEndpoint
from server.settings import Settings
from server.skin import LAST_WORDS

MARGIN = 5.0
"""Seconds beyond its own grace that a front gets to end."""


class FrontedApp:
    """One server over one bundle, whose calls are taken by front processes. Make, start and drain it on one event loop."""

    def __init__(self, settings: Settings, bundle: Bundle) -> None:
        self.settings = settings
        self.metrics = Metrics(calls=False)
        self._engine = Engine(settings, bundle, self.metrics)
        self._fronts = Fronts(settings.fronts, self._child)
        self._port: Port | None = None
        self._endpoint: MetricsEndpoint | None = None

    @property
    def address(self) -> str:
        """host:port of gRPC, once started."""
        return f"{self.settings.host}:{self._port.number if self._port else 0}"

    @property
    def metrics_url(self) -> str:
        """Where the metrics are, once started."""
        return self._endpoint.url if self._endpoint else ""

    async def start(self) -> None:
        """Take the ports, start the fronts, and wait until each has had its canaries answered.

        Raises:
            HoldfastError: a port is taken, or a front does not become ready.

        """
        self._port = Port.take(self.settings.host, self.settings.port)
        every = CollectorRegistry()
        every.register(EveryProcess(self.metrics.registry, self._fronts.scrape, asyncio.get_running_loop()))
        self._endpoint = MetricsEndpoint(every, self.settings.host, self.settings.metrics_port)
        self._engine.batcher.start()
        await self._fronts.start()
        if self._engine.prober is not None:
            self._engine.prober.start()
        if self.settings.port_file is not None:
            write_ports(self.settings.port_file, self.address, self.metrics_url)

    async def watch(self) -> None:
        """Raises HoldfastError where a front is gone and cannot be replaced; never returns before."""
        await self._fronts.watch()

    async def drain(self) -> bool:
        """Go down: the fronts finish their calls and end, then the engine. Returns whether all calls were finished."""
        patience = max(self.settings.drain_notice, self.settings.drain_grace) + LAST_WORDS + MARGIN
        finished = await self._fronts.drain(patience)
        self._engine.stop()
        if self._endpoint is not None:
            await asyncio.to_thread(self._endpoint.close)  # a scrape under way asks this loop
        if self._port is not None:
            self._port.close()
        return finished

    def _child(self, name: str) -> Child:
        assert self._port is not None  # noqa: S101 - taken before any front is made
        settings, engine = self.settings, self._engine
        most = max(settings.max_images, settings.max_batch)
        desk = Desk(name, engine.batcher, engine.prober, engine.served.contract.shape, most)
        here = settings.model_copy(update={"port": self._port.number})
        return Child(Begin(name, here, engine.served), desk)
