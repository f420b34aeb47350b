"""The listener of the page: a port of its own, in the process that runs the model, with the tokens of the admin service."""

from prometheus_client import CollectorRegistry

from holdfast.server.access.gate import Gate
from holdfast.server.address import joined
from holdfast.server.api.http.listener import HttpListener, HttpPlace
from holdfast.server.api.page.bench import PictureBench
from holdfast.server.api.page.changes import PageChanges
from holdfast.server.api.page.live import LivePage
from holdfast.server.api.page.parts import ServedParts
from holdfast.server.api.page.rendering import Rendering
from holdfast.server.api.page.visits.handling import PageHandling
from holdfast.server.api.page.visits.signing_in import SignIn
from holdfast.server.metrics.http_requests import HttpMetrics
from holdfast.server.monitor.page.background import BenchThread
from holdfast.server.settings import Settings

DRAIN_S = 2.0
"""Seconds that requests under way get at the end: an attack is not worth waiting for."""


class OperatorPage:
    """Shows operators what is served. Belongs to one event loop.

    Args:
        parts: what it shows.

    Raises:
        HoldfastError: a file of tokens or certificates cannot be used.

    """

    def __init__(self, parts: ServedParts) -> None:
        settings, metrics = parts.settings, parts.metrics
        self._parts, self._settings = parts, settings
        self._gate = Gate("page", metrics.access, settings.admin_access)
        self._counted = HttpMetrics(metrics.registry, "page")
        self._handling = PageHandling(settings, self._gate, self._counted, Rendering())
        self._thread = BenchThread(settings.page_attack_budget, settings.page_attack_seconds)
        self._bench = PictureBench(parts, self._thread)
        self._listener: HttpListener | None = None

    @property
    def url(self) -> str:
        """Where it is, once it listens; "" before."""
        if self._listener is None:
            return ""
        scheme = "https" if self._gate.certificate is not None else "http"
        return f"{scheme}://{joined(self._settings.page_host, self._listener.port)}/"

    async def start(self, registry: CollectorRegistry) -> None:
        """Listen, and show the metrics of this registry. Raises HoldfastError where the port is taken."""
        settings = self._settings
        live = LivePage(self._parts, registry, self._thread)
        sign_in = SignIn(self._handling, self._gate, self._counted, settings.page_sign_ins)
        changes = PageChanges(self._parts, live.forget)
        app = self._handling.application((*live.routes, *self._bench.routes, *changes.routes, *sign_in.routes))
        listener = HttpListener(app, _place_of(settings), self._gate, self._counted)
        await listener.listen()
        self._listener, self._handling.port = listener, listener.port
        self._gate.start()

    async def drain(self) -> None:
        """Refuse what is new, give what is under way a moment, and close."""
        self._thread.close()
        await self._handling.drain.finished(DRAIN_S)
        if self._listener is not None:
            await self._listener.close()
        self._bench.close()
        await self._gate.stop()


def _place_of(settings: Settings) -> HttpPlace:
    return HttpPlace(
        settings.page_host,
        settings.page_port or 0,
        "--page-port",
        settings.page_connections,
        settings.http_timeout,
        settings.handshake_timeout,
    )
