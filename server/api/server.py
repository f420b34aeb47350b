"""Every port where callers come in, over whichever backend runs the model."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from holdfast.server.access.files import HeldContent
from holdfast.server.access.gate import NOTHING_HELD
from holdfast.server.address import joined
from holdfast.server.api.api import Api
from holdfast.server.api.grpc_server import GrpcServer
from holdfast.server.api.table import APIS
from holdfast.server.core.request import InferenceBackend
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.settings import Settings

if TYPE_CHECKING:
    from holdfast.server.api.http.server import HttpServer


class ApiServer:
    """Takes calls over gRPC and, where that is asked for, over HTTP. Belongs to one event loop.

    Args:
        settings: of the server.
        backend: answers batches.
        metrics: of this process.
        apis: that gRPC offers.
        shares_port: whether other processes listen on the same ports.
        health_changed: is told whether health checks say SERVING, each time that this is set.
        held: what another process has read of the files of tokens and certificates.

    Raises:
        HoldfastError: as GrpcServer.

    """

    def __init__(
        self,
        settings: Settings,
        backend: InferenceBackend,
        metrics: Metrics,
        apis: Sequence[Api] = APIS,
        *,
        shares_port: bool = False,
        health_changed: Callable[[bool], None] = lambda _: None,
        held: HeldContent = NOTHING_HELD,
    ) -> None:
        self._settings = settings
        self._grpc = GrpcServer(
            settings, backend, metrics, apis, shares_port=shares_port, health_changed=health_changed, held=held
        )
        self._http: HttpServer | None = None
        if settings.http_port is not None:
            from holdfast.server.api.http import server as http  # noqa: PLC0415 - most servers do without aiohttp

            self._http = http.HttpServer(settings, self._grpc.core, self._grpc.gate, metrics, shares_port=shares_port)

    @property
    def port(self) -> int:
        """Of gRPC, once it listens."""
        return self._grpc.port

    @property
    def http_url(self) -> str:
        """Where HTTP is, once it listens; "" where it is not offered."""
        return "" if self._http is None else http_url(self._settings, self._http.port)

    async def listen(self) -> None:
        """Take the ports.

        Raises:
            HoldfastError: one is taken.

        """
        self._grpc.listen()
        if self._http is not None:
            await self._http.listen()

    async def start(self) -> None:
        """Serve, warm up, and only then be healthy.

        Raises:
            EngineError: the model does not answer the canary.

        """
        await self._grpc.start()

    @property
    def is_serving(self) -> bool:
        """Whether health checks say SERVING now."""
        return self._grpc.is_serving

    def look_at_health(self) -> None:
        """Look at once whether the engine answers, and not only when the next look is due."""
        self._grpc.look_at_health()

    async def announce_end(self) -> None:
        """NOT_SERVING in health checks from now on; returns after the notice, in which calls are taken as ever."""
        await self._grpc.announce_end()

    async def drain(self) -> bool:
        """Refuse new calls, finish those in flight, close. Returns whether all were finished."""
        finished = await self._grpc.drain()  # which counts those of HTTP, too
        await self._close_http()
        return finished

    async def close(self) -> None:
        """Close connections, and end what decodes."""
        await self._grpc.close()
        await self._close_http()

    async def _close_http(self) -> None:
        if self._http is not None:
            await self._http.close()


def http_url(settings: Settings, port: int) -> str:
    """The address of HTTP, as one writes it."""
    return f"http{'s' if settings.tls_cert else ''}://{joined(settings.host, port)}"
