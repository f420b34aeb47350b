"""Enough of HTTP/1.1 for a page that is scraped: one GET or HEAD a connection, and nobody holds one open for nothing."""

import asyncio
import io
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from typing import Literal

log = logging.getLogger(__name__)

MOST_HEAD_BYTES = 16 * 1024
"""Of a request: its line and its headers."""

Dropped = Literal["slow", "too_many", "malformed"]


@dataclass(frozen=True, slots=True)
class Page:
    """A reply: its status, headers and body."""

    status: HTTPStatus
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What is asked for: GET or HEAD, the path, what follows its question mark, and two headers, "" where they are not sent."""

    method: str
    path: str
    query: str
    accept: str
    accept_encoding: str


class MalformedRequestError(Exception):
    """What came is no request."""


class PageServer:
    """Answers requests for pages. Belongs to one event loop.

    A connection costs a few kilobytes, and none a thread. It has `timeout` seconds to send its request, and as many to take the
    reply. Above `connections` of them the oldest has to go, so whoever opens many keeps nobody else out.

    Args:
        render: makes the reply; runs on `executor`.
        executor: one thread is enough.
        connections: most at a time.
        timeout: seconds.
        dropped: told of each connection that is cut off.

    """

    def __init__(
        self,
        render: Callable[[PageRequest], Page],
        executor: Executor,
        *,
        connections: int,
        timeout: float,
        dropped: Callable[[Dropped], None],
    ) -> None:
        self._render, self._executor, self._dropped = render, executor, dropped
        self._most, self._timeout = connections, timeout
        self._open: dict[asyncio.Task[None], None] = {}  # the oldest first

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its begin to its end; for asyncio.start_server."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of start_server is one
        self._make_room()
        self._open[task] = None
        closed = False
        try:
            await self._exchange(reader, writer)
            closed = True
        except (ConnectionError, EOFError):
            pass  # the other side has left
        except TimeoutError:
            self._dropped("slow")
        except asyncio.CancelledError:
            if task in self._open:  # the server's end, not a want of room
                raise
        finally:
            self._open.pop(task, None)
            if not closed:
                writer.transport.abort()

    def _make_room(self) -> None:
        if len(self._open) >= self._most:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
            self._dropped("too_many")

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                request = parsed(await reader.readuntil(b"\r\n\r\n"))
        except (MalformedRequestError, asyncio.LimitOverrunError) as error:
            self._dropped("malformed")
            await self._write(writer, Page(HTTPStatus.BAD_REQUEST, body=f"{error}\n".encode()), "GET")
            return
        try:
            page = await asyncio.get_running_loop().run_in_executor(self._executor, self._render, request)
        except Exception:
            log.exception("a page could not be made")
            page = Page(HTTPStatus.INTERNAL_SERVER_ERROR)
        await self._write(writer, page, request.method)

    async def _write(self, writer: asyncio.StreamWriter, page: Page, method: str) -> None:
        lines = [f"HTTP/1.1 {page.status.value} {page.status.phrase}", "Connection: close", f"Content-Length: {len(page.body)}"]
        lines += [f"{name}: {value}" for name, value in page.headers]
        head = "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
        async with asyncio.timeout(self._timeout):
            writer.write(head if method == "HEAD" else head + page.body)
            writer.close()
            await writer.wait_closed()  # once all of it is sent


def parsed(head: bytes) -> PageRequest:
    """A request's line and headers. Raises MalformedRequestError."""
    line, _, rest = head.partition(b"\r\n")
    try:
        method, target, version = line.decode("ascii").split(" ")
        headers = parse_headers(io.BytesIO(rest))
    except (ValueError, HTTPException) as error:
        raise MalformedRequestError(f"this is no HTTP request: {error}") from None
    if version not in {"HTTP/1.0", "HTTP/1.1"} or not target.startswith("/"):
        raise MalformedRequestError("this is no request for a path in HTTP/1.1")
    path, _, query = target.partition("?")
    return PageRequest(method, path, query, headers.get("Accept", ""), headers.get("Accept-Encoding", ""))
