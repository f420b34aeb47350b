"""Metrics of requests to the HTTP API."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

CLIENT_LEFT = 499
"""The status of a request whose client has left, as nginx has it."""

HttpRefusal = Literal["connections", "body", "bodies", "time", "json", "sign_ins", "sessions", "uploads", "attacks"]
"""Which limit was met: connections, bytes of one body or of all of them, seconds of a body or of taking a reply, or of JSON; at
the page failed sign-ins, sessions, pictures at a time, attacks at a time."""


class HttpMetrics:
    """Of one port of one process.

    Args:
        registry: of the process.
        port: "http" is the API's, "page" that of the page for operators; metrics begin with it.

    """

    def __init__(self, registry: CollectorRegistry, port: Literal["http", "page"] = "http") -> None:
        what = "HTTP requests" if port == "http" else "Requests of the page for operators"
        self._requests = Counter(
            f"holdfast_{port}_requests_total", f"{what} ended, by route and status.", ("route", "status"), registry=registry
        )
        self._seconds = Histogram(
            f"holdfast_{port}_request_seconds",
            f"{what}: seconds from the head to the end of the reply.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self._refused = Counter(
            f"holdfast_{port}_refused_total",
            f"{what}, and connections, that met a limit, by which.",
            ("limit",),
            registry=registry,
        )
        self._connections = Gauge(f"holdfast_{port}_connections", f"Connections for {what} now.", registry=registry)

    def watch_connections(self, count: Callable[[], int]) -> None:
        """Read their number at each scrape."""
        self._connections.set_function(count)

    def refused(self, limit: HttpRefusal) -> None:
        """A limit was met."""
        self._refused.labels(limit).inc()

    def ended(self, route: str, status: int) -> None:
        """A request has ended."""
        self._requests.labels(route, str(status)).inc()

    @contextmanager
    def timing(self, route: str) -> Iterator[None]:
        """Time one request."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds.labels(route).observe(time.perf_counter() - began)
