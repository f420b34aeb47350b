"""The HTTP port of the APIs."""

from holdfast.server.access.gate import Gate
from holdfast.server.api.http.bodies import Bodies
from holdfast.server.api.http.handling import Handling
from holdfast.server.api.http.listener import HttpListener, HttpPlace
from holdfast.server.api.http.table import ROUTES
from holdfast.server.core.facade import Core
from holdfast.server.metrics.http_requests import HttpMetrics
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.settings import Settings


class HttpServer(HttpListener):
    """Takes HTTP requests for every route of the table. Belongs to one event loop.

    Args:
        settings: of the server.
        core: answers; its drain refuses, and counts what is in flight.
        gate: of the public listeners: tokens and certificate.
        metrics: of this process.
        shares_port: whether other processes listen on the same port.

    """

    def __init__(self, settings: Settings, core: Core, gate: Gate, metrics: Metrics, *, shares_port: bool = False) -> None:
        counted = HttpMetrics(metrics.registry)
        app = Handling(core, gate, counted, Bodies(settings), metrics.traces).application(ROUTES)
        place = HttpPlace(
            settings.host,
            settings.http_port or 0,
            "--http-port",
            settings.http_connections,
            settings.http_timeout,
            settings.handshake_timeout,
            shares_port,
        )
        super().__init__(app, place, gate, counted)
