"""Where metrics are scraped."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, make_wsgi_app
from prometheus_client.exposition import choose_encoder

from holdfast.server.address import joined, listen
from holdfast.server.metrics.http import MOST_HEAD_BYTES, Page, PageRequest, PageServer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from wsgiref.types import WSGIEnvironment

    from holdfast.server.telemetry.conditions import Check

PATH = "/metrics"
METHODS = "GET", "HEAD", "OPTIONS"


class MetricsEndpoint:
    """http://HOST:PORT/metrics, on a loop and a thread of its own: it answers where the server's loop does not.

    Args:
        registry: is shown, as the scraper asks for it: in Prometheus' text format, or as OpenMetrics.
        host: to listen on.
        port: 0 takes a free one.
        own: counts connections that are cut off; part of what is shown.
        connections: most at a time.
        timeout: seconds that a connection has to send its request, and to take the reply.
        checks: further pages by their paths: 200 where all is well, else 503 and what is wrong.

    Raises:
        HoldfastError: it cannot listen there.

    """

    def __init__(
        self,
        registry: CollectorRegistry,
        host: str,
        port: int,
        *,
        own: CollectorRegistry,
        connections: int = 64,
        timeout: float = 10.0,
        checks: "Mapping[str, Check] | None" = None,
    ) -> None:
        self._listener = listen(host, port, "--metrics-port")
        self._host = host
        self._app, self._checks = make_wsgi_app(registry), checks or {}
        dropped = Counter(
            "holdfast_metrics_connections_dropped_total",
            "Connections to this page that were cut off: too slow, one too many, or no HTTP.",
            ("why",),
            registry=own,
        )
        for why in ("slow", "too_many", "malformed"):
            dropped.labels(why)  # so that the series are there from the start
        self._executor = ThreadPoolExecutor(1, "metrics-page")
        self._pages = PageServer(
            self._render,
            self._executor,
            connections=connections,
            timeout=timeout,
            dropped=lambda why: dropped.labels(why).inc(),
        )
        self._loop, self._stopping = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is, also where port 0 was asked for."""
        return f"http://{joined(self._host, self._listener.getsockname()[1])}{PATH}"

    def close(self) -> None:
        """Stop answering and give the port back."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._executor.shutdown(wait=False)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pages.answer, sock=self._listener, limit=MOST_HEAD_BYTES)
        async with server:
            await self._stopping.wait()

    def _render(self, request: PageRequest) -> Page:
        check = self._checks.get(request.path)
        if check is None and request.path not in {PATH, "/"}:
            others = "".join(f", {path}" for path in self._checks)
            return Page(HTTPStatus.NOT_FOUND, body=f"there are {PATH}{others}\n".encode())
        if request.method not in METHODS:
            return Page(HTTPStatus.METHOD_NOT_ALLOWED, [("Allow", ", ".join(METHODS))])
        if check is not None:
            return _checked(check)
        page = Page(HTTPStatus.OK)
        environment: WSGIEnvironment = {
            "REQUEST_METHOD": "GET" if request.method == "HEAD" else request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query,
            "HTTP_ACCEPT": _readable(request.accept),
            "HTTP_ACCEPT_ENCODING": request.accept_encoding,
        }
        body = b"".join(self._app(environment, lambda _, headers: page.headers.extend(headers)))
        return Page(page.status, page.headers, body)


def _checked(check: "Check") -> Page:
    wrong = check()
    status = HTTPStatus.OK if wrong is None else HTTPStatus.SERVICE_UNAVAILABLE
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
    return Page(status, headers, f"{wrong or 'ok'}\n".encode())


def _readable(accept: str) -> str:
    """What a scraper accepts; "" for what prometheus_client cannot read, such as a version that is no number."""
    try:
        choose_encoder(accept)
    except TypeError:
        return ""
    return accept
