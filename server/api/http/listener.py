"""A port of HTTP: a bounded number of connections, encrypted as its gate says, on the event loop that answers gRPC."""

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from holdfast.server.access.gate import Gate
from holdfast.server.address import addresses_of, cannot_listen, refuse_taken
from holdfast.server.api.http.tls import context_of
from holdfast.server.metrics.http_requests import HttpMetrics

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


@dataclass(frozen=True, slots=True)
class HttpPlace:
    """Where a port is, and what it bears.

    Attributes:
        host, port: to listen on; 0 takes a free port.
        flag: by which an operator would change the port.
        connections: most at a time.
        timeout: seconds that a connection has to send the head of a request.
        handshake_timeout: seconds that it has to agree on encryption.
        shared: whether other processes listen on the same port.

    """

    host: str
    port: int
    flag: str
    connections: int
    timeout: float
    handshake_timeout: float
    shared: bool = False


class HttpListener:
    """Takes connections for one application. Belongs to one event loop.

    Args:
        app: answers requests.
        place: where.
        gate: of the listener; its certificate is the port's.
        metrics: of the port.

    Attributes:
        port: the number of the port, once it listens.

    """

    def __init__(self, app: web.Application, place: HttpPlace, gate: Gate, metrics: HttpMetrics) -> None:
        self._place, self._gate, self._metrics = place, gate, metrics
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,  # nobody waits for what a client has left
            access_log=None,
            auto_decompress=False,  # refused by its name
            keepalive_timeout=place.timeout,  # from the begin of a connection, too: a head takes no longer
            lingering_time=min(2.0, place.timeout),
            shutdown_timeout=CLOSE_GRACE_S,
        )
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._following: asyncio.Task[None] | None = None
        self.port = 0

    async def listen(self) -> None:
        """Take the port; `port` says which. Requests are answered from now on.

        Raises:
            HoldfastError: it is taken, or the address is none of this machine.

        """
        await self._runner.setup()
        self._metrics.watch_connections(self._connections)
        host, wanted = self._place.host, self._place.port
        try:
            for family, address in addresses_of(host, wanted):
                # The second address of a host gets the number that the first was given.
                number = self._sockets[0].getsockname()[1] if self._sockets else wanted
                self._sockets.append(self._bound(family, (address[0], number, *address[2:])))
        except (OSError, UnicodeError) as error:
            await self.close()
            raise cannot_listen(host, wanted, self._place.flag, error) from None
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
        if not self._place.shared:
            refuse_taken((family, address))
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._place.shared:
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
        timeout = self._place.handshake_timeout if context is not None else None
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
        if self._connections() >= self._place.connections:
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
