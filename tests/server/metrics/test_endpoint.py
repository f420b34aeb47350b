"""The page of metrics as scrapers, browsers and strangers meet it."""

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from holdfast.errors import HoldfastError
from holdfast.server.metrics.endpoint import MetricsEndpoint
from tests.server.pages import OPEN_METRICS, address_of, asked, check_formats
from tests.server.running import Served, metric_of, scrape, wait_for

CONNECTIONS = 8


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def endpoint(registry: CollectorRegistry) -> Iterator[MetricsEndpoint]:
    made = MetricsEndpoint(registry, "127.0.0.1", 0, own=registry, connections=CONNECTIONS, timeout=0.5)
    yield made
    made.close()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def dropped(url: str, why: str) -> float:
    return metric_of(scrape(url), "holdfast_metrics_connections_dropped_total", why=why)


def cut_off(connection: socket.socket) -> bool:
    """Whether the other side has ended it, which may take a moment."""
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_it_speaks_the_format_that_is_asked_for(endpoint: MetricsEndpoint) -> None:
    reply, body = asked(endpoint.url, Accept=OPEN_METRICS)
    assert "openmetrics" in (reply.getheader("Content-Type") or "")
    assert "holdfast_metrics_connections_dropped" in {family.name for family in open_metrics(body.decode())}
    for accept in ("", "text/plain", "application/openmetrics-text; version=banana", "text/plain; version=1.x"):
        reply, body = asked(endpoint.url, Accept=accept)
        assert reply.status == 200
        assert (reply.getheader("Content-Type") or "").startswith("text/plain")
        assert list(text_format(body.decode()))
    reply, packed = asked(endpoint.url, Accept_Encoding="gzip")
    assert reply.getheader("Content-Encoding") == "gzip"
    assert gzip.decompress(packed) == body


def test_other_methods_and_paths_are_answered(endpoint: MetricsEndpoint) -> None:
    whole, body = asked(endpoint.url)
    head, nothing = asked(endpoint.url, "HEAD")
    assert (head.status, head.getheader("Content-Length"), nothing) == (200, str(len(body)), b"")
    assert whole.getheader("Content-Length") == str(len(body))
    assert asked(endpoint.url, path="/secrets")[0].status == 404
    refused = asked(endpoint.url, "DELETE")[0]
    assert refused.status == 405
    assert "GET" in (refused.getheader("Allow") or "")


def test_silent_connections_cost_no_thread_and_keep_nobody_out(endpoint: MetricsEndpoint, opened: ExitStack) -> None:
    scrape(endpoint.url)
    threads = threading.active_count()
    silent = [opened.enter_context(socket.create_connection(address_of(endpoint.url))) for _ in range(3 * CONNECTIONS)]
    wait_for(lambda: dropped(endpoint.url, "too_many") >= 2 * CONNECTIONS)
    assert threading.active_count() <= threads
    assert all(map(cut_off, silent))
    wait_for(lambda: dropped(endpoint.url, "slow") > 0)


def test_a_request_that_never_ends_is_cut_off(endpoint: MetricsEndpoint, opened: ExitStack) -> None:
    connection = opened.enter_context(socket.create_connection(address_of(endpoint.url)))
    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\n")
    assert cut_off(connection)
    assert dropped(endpoint.url, "slow") == 1


def test_a_reply_that_nobody_takes_is_cut_off(
    endpoint: MetricsEndpoint, registry: CollectorRegistry, opened: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    large = Gauge("large", "More than sockets buffer.", ("padding",), registry=registry)
    large.labels("x" * 16 * 2**20).set(1)
    connection = opened.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(address_of(endpoint.url))
    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
    name = "holdfast_metrics_connections_dropped_total"
    wait_for(lambda: registry.get_sample_value(name, {"why": "slow"}) == 1)
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"x" * 70_000,
    ],
)
def test_what_is_no_request_is_told_so(endpoint: MetricsEndpoint, opened: ExitStack, sent: bytes) -> None:
    connection = opened.enter_context(socket.create_connection(address_of(endpoint.url)))
    connection.sendall(sent)
    connection.settimeout(10)
    try:
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    except ConnectionResetError:  # with more on its way than was read
        assert len(sent) > 16 * 1024
    assert dropped(endpoint.url, "malformed") == 1


def test_who_leaves_at_once_is_nothing_to_speak_of(endpoint: MetricsEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        socket.create_connection(address_of(endpoint.url)).close()
    assert "holdfast_metrics" in scrape(endpoint.url)
    assert not caplog.records


def test_its_port_is_given_back_and_one_that_is_taken_is_an_error(registry: CollectorRegistry) -> None:
    first = MetricsEndpoint(registry, "127.0.0.1", 0, own=registry)
    port = address_of(first.url)[1]
    with pytest.raises(HoldfastError, match=f"127.0.0.1:{port}"):
        MetricsEndpoint(registry, "127.0.0.1", port, own=CollectorRegistry())
    first.close()
    MetricsEndpoint(registry, "127.0.0.1", port, own=CollectorRegistry()).close()


def test_a_server_shows_valid_metrics(served: Served) -> None:
    check_formats(served.app.metrics_url)
