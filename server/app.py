"""The server in one process: engine, gRPC server and metrics on one event loop."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from holdfast.files import write_atomically
from holdfast.server.address import joined
from holdfast.server.alarms.alarm import AlarmLog
from holdfast.server.api.admin.server import AdminServer
from holdfast.server.api.api import Api
from holdfast.server.api.page.parts import ServedParts
from holdfast.server.api.server import ApiServer
from holdfast.server.api.table import APIS
from holdfast.server.core.batching import Batcher
from holdfast.server.core.engine import Engine
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.observers import MakeObserver
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.endpoint import MetricsEndpoint
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.monitor.page.recent import LiveView
from holdfast.server.monitor.table import OBSERVERS
from holdfast.server.settings import Settings
from holdfast.server.store.following import SharedFollower
from holdfast.server.store.judging.judge import NeighbourJudge
from holdfast.server.store.judging.recent import RecentAnswers
from holdfast.server.store.store import ExemplarStore
from holdfast.server.telemetry.conditions import Conditions
from holdfast.server.versions.loading import LoadedVersion
from holdfast.server.versions.manager import VersionManager
from holdfast.server.versions.watcher import VersionWatcher
from holdfast.waiting import waiting

if TYPE_CHECKING:
    from holdfast.server.api.page.server import OperatorPage

log = logging.getLogger(__name__)

HANGS_AFTER_CANARIES = 4
"""Canaries in a row whose batches have not ended: the model hangs, and will go on doing so."""


class ServedApp:
    """What a server has in one process or in several: settings, a holder of the model, metrics and where these are read."""

    def __init__(
        self,
        settings: Settings,
        holder: ModelHolder,
        metrics: Metrics,
        first: LoadedVersion | None = None,
        store: ExemplarStore | None = None,
    ) -> None:
        self.settings, self.holder, self.metrics, self.store = settings, holder, metrics, store
        self._endpoint: MetricsEndpoint | None = None
        self._conditions: Conditions | None = None
        self.versions = VersionManager(settings, holder, metrics, first, store)
        self._admin = AdminServer(settings, holder, metrics, store, self.versions) if settings.offers_admin else None
        self._follower = SharedFollower(holder) if store is None else None
        self._recent = RecentAnswers() if store is not None and settings.judge else None
        self._live_view = LiveView() if settings.page_port is not None else None
        self._page = self._make_page(self._live_view) if self._live_view is not None else None
        self._shown_registry = metrics.registry
        self._watcher = VersionWatcher(self.versions, settings.watch_interval if settings.bundle_versions else 0.0)

    @property
    def metrics_url(self) -> str:
        """Where the metrics are, once started."""
        return self._endpoint.url if self._endpoint else ""

    @property
    def admin_address(self) -> str:
        """host:port of the admin service, once started; "" where it is not offered."""
        return self._admin.address if self._admin else ""

    @property
    def http_url(self) -> str:
        """Where HTTP is, once started; "" where it is not offered."""
        return ""

    @property
    def alarms(self) -> AlarmLog:
        """The latest alarms of the detectors."""
        raise NotImplementedError

    @property
    def page_url(self) -> str:
        """Where the page for operators is, once started; "" where it is not offered."""
        return self._page.url if self._page else ""

    def publish(self, snapshot: ModelSnapshot) -> None:
        """Serve another model from the next batch on. Any thread may; arguments and errors as ModelHolder.publish."""
        self.holder.publish(snapshot)

    def request_reload(self) -> None:
        """Reload soon, or as soon as the server has started. To be called on its event loop."""
        self._watcher.request()

    async def _stop_versions(self) -> None:
        await self._watcher.stop()
        await self.versions.stop()

    def _observers(self, others: Sequence[MakeObserver]) -> Sequence[MakeObserver]:
        """Those of the server, the shadow, and what keeps recent answers for the judge of new exemplars and for the page."""
        own = (self.versions.shadow, self._recent, self._live_view)
        return *others, *(lambda _, observer=observer: observer for observer in own if observer is not None)

    def _make_page(self, view: LiveView) -> "OperatorPage":
        from holdfast.server.api.page.server import OperatorPage  # noqa: PLC0415 - most servers do without aiohttp

        return OperatorPage(
            ServedParts(
                settings=self.settings,
                holder=self.holder,
                metrics=self.metrics,
                view=view,
                versions=self.versions,
                store=self.store,
                alarms=lambda: self.alarms,
            )
        )

    def _judging(self) -> dict[str, Any]:
        return {} if self._recent is None else {"judge": NeighbourJudge(), "recent": self._recent.sample}

    async def _start_admin(self) -> None:
        if self.store is not None:
            self.store.start(self.holder, self.metrics.registry, **self._judging())
        if self._follower is not None:
            self._follower.start()
        if self._admin is not None:
            await self._admin.start()
        if self._page is not None:
            await self._page.start(self._shown_registry)

    async def _drain_admin(self) -> bool:
        if self._page is not None:
            await self._page.drain()
        finished = await self._admin.drain() if self._admin is not None else True
        if self.store is not None:
            await self.store.stop()
        if self._follower is not None:
            await asyncio.to_thread(self._follower.stop)
        return finished

    def _start_pages(self, registry: CollectorRegistry, batcher: Batcher, is_serving: Callable[[], bool]) -> None:
        """Show metrics and conditions from now on. Raises HoldfastError where the port is taken."""
        hangs = HANGS_AFTER_CANARIES * (self.settings.canary_interval + self.settings.canary_timeout)
        self._conditions = Conditions(lambda: batcher.last_batch, is_serving, hangs)
        self._endpoint = self._metrics_of(registry, self._conditions)
        self._shown_registry = registry
        self._conditions.start()

    async def _stop_pages(self) -> None:
        if self._conditions is not None:
            self._conditions.stop()
        if self._endpoint is not None:
            await asyncio.to_thread(self._endpoint.close)  # a scrape under way needs this loop

    def _metrics_of(self, registry: CollectorRegistry, conditions: Conditions) -> MetricsEndpoint:
        settings = self.settings
        return MetricsEndpoint(
            registry,
            settings.metrics_at,
            settings.metrics_port,
            own=self.metrics.registry,
            connections=settings.metrics_connections,
            timeout=settings.metrics_timeout,
            checks=conditions.pages,
        )

    def _write_ports(self, address: str) -> None:
        """Write for scripts where the server is: {"address": "host:port", "metrics": "http://..."}, and others alike."""
        if self.settings.port_file is not None:
            where = {"address": address, "metrics": self.metrics_url}
            where |= {"admin": self.admin_address} if self._admin is not None else {}
            where |= {"http": self.http_url} if self.http_url else {}
            where |= {"page": self.page_url} if self.page_url else {}
            write_atomically(self.settings.port_file, json.dumps(where).encode())


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
        store: ExemplarStore | None = None,
        apis: Sequence[Api] = APIS,
        observers: Sequence[MakeObserver] = OBSERVERS,
    ) -> None:
        super().__init__(settings, holder, Metrics(), first, store)
        self._engine = Engine(settings, holder, self.metrics, self._observers(observers))
        self._server = ApiServer(settings, self._engine.batcher, self.metrics, apis)

    @property
    def alarms(self) -> AlarmLog:
        """The latest alarms of the detectors."""
        return self._engine.alarms.log

    @property
    def batcher(self) -> Batcher:
        """What feeds the model."""
        return self._engine.batcher

    @property
    def address(self) -> str:
        """host:port of gRPC, once started."""
        return joined(self.settings.host, self._server.port)

    @property
    def http_url(self) -> str:
        """Where HTTP is, once started; "" where it is not offered."""
        return self._server.http_url

    async def start(self) -> None:
        """Listen, warm up, and only then be healthy.

        Raises:
            HoldfastError: a port is taken.
            EngineError: the model does not answer the canary.

        """
        await self._server.listen()
        self._start_pages(self.metrics.registry, self.batcher, lambda: self._server.is_serving)
        self._engine.start()
        with waiting(log, "warming up every size of batch"):
            await self._server.start()
        await self._start_admin()
        self._watcher.start()
        self._write_ports(self.address)

    async def watch(self) -> None:
        """Never returns; a server of several processes raises HoldfastError where it cannot go on."""
        await asyncio.Event().wait()

    async def drain(self) -> bool:
        """Go down: give notice, refuse new calls, finish those in flight, close. Returns whether all were finished."""
        if self._conditions is not None:
            self._conditions.end()
        await self._server.announce_end()
        await self._stop_versions()
        changed, finished = await asyncio.gather(self._drain_admin(), self._server.drain())
        ended = await asyncio.to_thread(self._engine.stop)
        await self._stop_pages()
        return changed and finished and ended
