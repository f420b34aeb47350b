"""HTTP/1.1 with as little work as it takes: whole requests out, replies with a content-length in, connections kept open.

A client library costs several times as much, which on a small machine is taken from the server.
"""

import asyncio
from typing import cast

Reply = tuple[int, bytes]


class HttpConnection(asyncio.Protocol):
    """One exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Reply] | None = None
        self._received = b""
        self.usable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found or self._waiting is None or self._waiting.done():
            return
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
        if length is None:
            self._fail(ConnectionError("a reply without a content-length"))
        elif len(rest) >= length:
            self._received = b""
            self.usable = b"connection: close" not in lines
            self._waiting.set_result((int(lines[0].split()[1]), rest[:length]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._fail(exc if isinstance(exc, OSError) else ConnectionError("closed by the server"))

    async def exchange(self, request: bytes) -> Reply:
        """Status and body. Raises OSError."""
        self._waiting = asyncio.get_running_loop().create_future()
        if self._transport is None or not self.usable:
            raise ConnectionError("closed")
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """Close it, whatever is under way."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: OSError) -> None:
        self.usable = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


class HttpConnections:
    """As many as there are exchanges under way; those that are idle are used again, the latest first."""

    def __init__(self, host: str, port: str) -> None:
        self._host, self._port = host, int(port)
        self._idle: list[HttpConnection] = []

    async def exchange(self, request: bytes) -> Reply:
        """Status and body. Raises OSError; one that is cancelled closes its connection."""
        connection = await self._take()
        try:
            reply = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        if connection.usable:
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    async def _take(self) -> HttpConnection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(HttpConnection, self._host, self._port)
        return made

    def close(self) -> None:
        """Close those that are idle."""
        for each in self._idle:
            each.close()
        self._idle.clear()
