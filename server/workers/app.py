"""The server in several processes: the engine here, workers that take the calls."""

import asyncio
import logging
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from holdfast.server.access.gate import Gate
from holdfast.server.address import joined
from holdfast.server.alarms.alarm import AlarmLog
from holdfast.server.api.grpc_server import CLOSE_GRACE_S
from holdfast.server.api.server import http_url
from holdfast.server.app import ServedApp
from holdfast.server.core.engine import Engine
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.observers import MakeObserver
from holdfast.server.decoding.turns import LoopTurns
from holdfast.server.metrics.access import AccessMetrics
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.metrics.workers import WorkerMetrics
from holdfast.server.monitor.table import OBSERVERS
from holdfast.server.settings import Settings
from holdfast.server.store.store import ExemplarStore
from holdfast.server.versions.loading import LoadedVersion
from holdfast.server.workers.control import Begin
from holdfast.server.workers.pool import WorkerPool
from holdfast.server.workers.port import Port
from holdfast.server.workers.samples import EveryProcess
from holdfast.server.workers.worker_connection import BacklogAnnouncer, WorkerConnection
from holdfast.server.workers.worker_process import WorkerProcess
from holdfast.waiting import waiting

END_MARGIN_S = 5.0
"""Seconds beyond its own grace that a worker gets to end."""

log = logging.getLogger(__name__)


class WorkersApp(ServedApp):
    """One server over one holder, whose calls are taken by worker processes. Make, start and drain it on one event loop.

    Raises HoldfastError where the model will not do for what the settings ask.
    """

    def __init__(
        self,
        settings: Settings,
        holder: ModelHolder,
        *,
        first: LoadedVersion | None = None,
        store: ExemplarStore | None = None,
        observers: Sequence[MakeObserver] = OBSERVERS,
    ) -> None:
        # Nobody calls at this one: workers that take another's place begin with what it has read.
        self._gate = Gate("public", AccessMetrics(None), settings.public_access)
        super().__init__(settings, holder, Metrics(calls=settings.offers_admin or settings.page_port is not None), first, store)
        self._engine = Engine(settings, holder, self.metrics, self._observers(observers))
        self._backlogs, self._turns = BacklogAnnouncer(self._engine.batcher), LoopTurns()
        self._workers = WorkerPool(settings.workers, self._make_worker, WorkerMetrics(self.metrics.registry))
        self._port: Port | None = None
        self._http_port: Port | None = None

    @property
    def alarms(self) -> AlarmLog:
        """The latest alarms of the detectors."""
        return self._engine.alarms.log

    @property
    def address(self) -> str:
        """host:port of gRPC, once started."""
        return joined(self.settings.host, self._port.number if self._port else 0)

    @property
    def http_url(self) -> str:
        """Where HTTP is, once started; "" where it is not offered."""
        return http_url(self.settings, self._http_port.number) if self._http_port else ""

    async def start(self) -> None:
        """Take the ports, start the workers, and wait until each has had its canaries answered.

        Raises:
            HoldfastError: a port is taken, or a worker does not become ready.

        """
        settings = self.settings
        self._port = Port.take(settings.host, settings.port)
        if settings.http_port is not None:
            self._http_port = Port.take(settings.host, settings.http_port, "--http-port")
        every = CollectorRegistry()
        every.register(EveryProcess(self.metrics.registry, self._workers.scrape, asyncio.get_running_loop()))
        self._start_pages(every, self._engine.batcher, lambda: self._workers.is_serving)
        self._engine.start()
        self._gate.start()
        with waiting(log, f"starting {self.settings.workers} worker processes"):
            await self._workers.start()
        await self._start_admin()
        self._watcher.start()
        self._write_ports(self.address)

    async def watch(self) -> None:
        """Raises HoldfastError where a worker is gone and cannot be replaced; never returns before."""
        await self._workers.watch()

    async def drain(self) -> bool:
        """Go down: the workers give notice, finish their calls and end, then the engine. Returns whether all were finished."""
        if self._conditions is not None:
            self._conditions.end()
        settings = self.settings
        timeout = settings.drain_notice + settings.drain_grace + CLOSE_GRACE_S + END_MARGIN_S
        ending = asyncio.create_task(self._workers.drain(timeout))
        # Operators are served until then, too; where all workers have ended before, nobody waits for it.
        await asyncio.wait({ending}, timeout=settings.drain_notice)
        await self._stop_versions()
        changed, finished = await asyncio.gather(self._drain_admin(), ending)
        ended = await asyncio.to_thread(self._engine.stop)
        await self._stop_pages()
        await self._gate.stop()
        for port in (self._port, self._http_port):
            if port is not None:
                port.close()
        return changed and finished and ended

    def _make_worker(self, name: str) -> WorkerProcess:
        assert self._port is not None  # noqa: S101 - taken before any worker is made
        settings = self.settings
        ports = {"port": self._port.number} | ({"http_port": self._http_port.number} if self._http_port else {})
        most = max(settings.max_images, settings.max_batch)
        connection = WorkerConnection(name, self._engine.batcher, self.holder, most, self._backlogs, turns=self._turns)
        begin = Begin(name, settings.model_copy(update=ports), self._gate.held)
        return WorkerProcess(begin, connection)
