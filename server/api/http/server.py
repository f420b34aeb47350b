"""The HTTP port: a bounded number of connections, encrypted where gRPC is, on the event loop that answers gRPC."""

import asyncio
import socket
from contextlib import suppress

from aiohttp import web

from holdfast.server.access.gate import Gate
from holdfast.server.address import addresses_of, cannot_listen, refuse_taken
from holdfast.server.api.http.bodies import Bodies
from holdfast.server.api.http.handling import Handling
from holdfast.server.api.http.table import ROUTES
from holdfast.server.api.http.tls import context_of
from holdfast.server.core.facade import Core
from holdfast.server.metrics.http_requests import HttpMetrics
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.settings import Settings

CLOSE_GRACE_S = 0.25
"""Seconds that requests get to end once every call has ended, or had its time."""

LOOK_EVERY_S = 1.0
"""Seconds between two looks at whether the certificate has changed."""

_BACKLOG = 512
_BUSY = b'{"error": "too many connections; try again"}'
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BUSY), _BUSY)
)


class HttpServer:
    """Takes HTTP requests for every route of the table. Belongs to one event loop.

    Args:
        settings: of the server.
        core: answers; its drain refuses, and counts what is in flight.
        gate: of the public listeners: tokens and certificate.
        metrics: of this process.
        shares_port: whether other processes listen on the same port.

    """

    def __init__(self, settings: Settings, core: Core, gate: Gate, metrics: Metrics, *, shares_port: bool = False) -> None:
        self._settings, self._gate, self._metrics, self._shares_port = (
            settings,
            gate,
            HttpMetrics(metrics.registry),
            shares_port,
        )
        timeout = settings.http_timeout
        app = Handling(core, gate, self._metrics, Bodies(settings), metrics.traces).application(ROUTES)
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,  # nobody waits for what a client has left
            access_log=None,
            auto_decompress=False,  # refused by its name
            keepalive_timeout=timeout,  # from the begin of a connection, too: a head takes no longer
            lingering_time=min(2.0, timeout),
            shutdown_timeout=CLOSE_GRACE_S,
        )
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._following: asyncio.Task[None] | None = None
        self.port = 0

    async def listen(self) -> None:
        """Take the port; `port` says which. Health answers from now on.

        Raises:
            HoldfastError: it is taken, or the address is none of this machine.

        """
        await self._runner.setup()
        self._metrics.watch_connections(self._connections)
        host, wanted = self._settings.host, self._settings.http_port or 0
        try:
            for family, address in addresses_of(host, wanted):
                # The second address of a host gets the number that the first was given.
                number = self._sockets[0].getsockname()[1] if self._sockets else wanted
                self._sockets.append(self._bound(family, (address[0], number, *address[2:])))
        except (OSError, UnicodeError) as error:
            await self.close()
            raise cannot_listen(host, wanted, "--http-port", error) from None
        self.port = self._sockets[0].getsockname()[1]
        await self._serve()
        if self._gate.certificate is not None:
            self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Take nothing more, give what is in flight a moment, and close."""
        if self._following is not None:
            self._following.cancel()
        for server in self._servers:
            server.close()
        for each in self._sockets:
            each.close()
        await self._runner.cleanup()

    def _bound(self, family: socket.AddressFamily, address: tuple[str | int, ...]) -> socket.socket:
        if not self._shares_port:
            refuse_taken((family, address))
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._shares_port:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind(address)
            bound.listen(_BACKLOG)
            bound.setblocking(False)
        except OSError:
            bound.close()
            raise
        return bound

    async def _serve(self) -> None:
        """Begin to take connections, with the certificate of now."""
        loop, gate = asyncio.get_running_loop(), self._gate
        context = None
        if gate.certificate is not None:
            context = context_of(gate.certificate.current, asks_for_certificates=gate.asks_for_certificates)
        timeout = self._settings.handshake_timeout if context is not None else None
        self._servers = [
            await loop.create_server(
                self._protocol, sock=each.dup(), ssl=context, ssl_handshake_timeout=timeout, backlog=_BACKLOG
            )
            for each in self._sockets
        ]

    async def _follow(self) -> None:
        """Take connections with a new certificate as soon as there is one; those that are open go on with theirs."""
        certificate = self._gate.certificate
        assert certificate is not None  # noqa: S101 - or nothing would be followed
        shown = certificate.current
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if certificate.current is not shown:
                shown, before = certificate.current, self._servers
                await self._serve()  # on the same sockets: nobody who connects is turned away
                for server in before:
                    server.close()

    def _protocol(self) -> asyncio.Protocol:
        """What takes a new connection."""
        assert self._runner.server is not None  # noqa: S101 - it is set up
        if self._connections() >= self._settings.http_connections:
            self._metrics.refused("connections")
            return _Refuse()
        protocol: asyncio.Protocol = self._runner.server()
        return protocol

    def _connections(self) -> int:
        server = self._runner.server
        return 0 if server is None else len(server.connections)


class _Refuse(asyncio.Protocol):
    """Says that there is no room, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            with suppress(OSError):
                transport.write(_REFUSAL)
        transport.close()
