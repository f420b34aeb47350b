"""Alarms: kept, counted, logged, sent and acted upon, all of it bounded."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import ValidationError

from holdfast.server.alarms.actions import AlarmActions
from holdfast.server.alarms.alarm import AlarmLog
from holdfast.server.alarms.metrics import AlarmMetrics
from holdfast.server.alarms.settings import AlarmSettings
from holdfast.server.alarms.throttle import CallerThrottle
from tests.server.running import metric_of, wait_for


class Acting:
    """Actions by some settings, and a clock that is set."""

    def __init__(self, **settings: Any) -> None:
        self.now, self.registry = 1000.0, CollectorRegistry()
        configured = AlarmSettings(**settings)
        self.weights = CallerThrottle(
            lambda key: 2.0, configured.alarm_throttle, configured.alarm_throttle_seconds, lambda: self.now
        )
        self.actions = AlarmActions(configured, AlarmMetrics(self.registry), self.weights, lambda: self.now)

    def __enter__(self) -> Self:
        self.actions.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.actions.stop()

    def metric(self, name: str, **labels: str) -> float:
        return metric_of(generate_latest(self.registry).decode(), name, **labels)


@contextmanager
def receiver(statuses: list[int]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An HTTP server that answers with these statuses, the last again and again; yields its address and what came."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body))
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/secret-path", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 9)), max_size=60), st.integers(1, 5))
def test_the_log_is_bounded_and_counts_what_goes_on(reasons: list[tuple[str, str, int]], capacity: int) -> None:
    now = [0.0]
    log = AlarmLog(capacity, repeat=5.0, clock=lambda: now[0])
    latest: dict[tuple[str, str], float] = {}
    for detector, caller, pause in reasons:
        now[0] += pause
        alarm, is_new = log.add(detector, caller, float(pause), 1.0)
        before = latest.get((detector, caller))
        if before is None or now[0] - before >= 5:
            assert is_new
        assert alarm.count == 1 if is_new else alarm.count > 1
        latest[detector, caller] = now[0]
        recent = log.recent()
        assert len(recent) <= capacity
        assert alarm in recent
        assert [a.when for a in recent] == sorted((a.when for a in recent), reverse=True)
    assert log.recent(1) == log.recent()[:1]


def test_an_alarm_that_goes_on_keeps_its_largest_score() -> None:
    log = AlarmLog()
    for score in (2.0, 5.0, 3.0):
        alarm, _ = log.add("d", "c", score, 1.0)
    assert (alarm.score, alarm.count) == (5.0, 3)


def test_lines_are_few_a_minute_and_say_how_many_are_missing(caplog: pytest.LogCaptureFixture) -> None:
    acting = Acting(alarm_log_rate=3)
    for caller in range(10):
        acting.actions.raised("d", f"caller-{caller}", 1.0, 1.0, key=f"10.0.0.{caller}")
    assert len(caplog.records) == 3
    assert acting.metric("holdfast_alarms_not_logged_total") == 7
    acting.now += 61
    acting.actions.raised("d", "", 1.0, 1.0)
    assert "7" in caplog.records[-1].getMessage()
    assert acting.metric("holdfast_alarms_total", scope="all") == 1
    assert acting.metric("holdfast_alarms_total", scope="caller") == 10


def test_the_webhook_gets_each_new_alarm_and_tries_again() -> None:
    with receiver([500, 302, 204]) as (address, received), Acting(alarm_webhook=address) as acting:
        for _ in range(3):
            acting.actions.raised("d", "abc", 7.0, 5.0, key="10.0.0.7")
        wait_for(lambda: acting.metric("holdfast_alarm_webhook_total", outcome="sent") == 1)
    assert [alarm["count"] for alarm in received] == [1, 1, 1]  # three tries of one alarm
    assert received[0] == {
        "detector": "d",
        "caller": "abc",
        "score": 7.0,
        "threshold": 5.0,
        "when": received[0]["when"],
        "count": 1,
    }


def test_a_webhook_that_refuses_is_given_up_and_its_path_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with receiver([503]) as (address, received), Acting(alarm_webhook=address, alarm_webhook_tries=1) as acting:
        for caller in range(3):
            acting.actions.raised("d", str(caller), 1.0, 1.0, key=str(caller))
        wait_for(lambda: acting.metric("holdfast_alarm_webhook_total", outcome="failed") == 3)
    assert len(received) == 3
    warned = [record for record in caplog.records if "webhook" in record.getMessage()]
    assert len(warned) == 1
    assert "secret-path" not in caplog.text


def test_more_than_fits_the_webhooks_queue_is_dropped_and_counted() -> None:
    acting = Acting(alarm_webhook="http://127.0.0.1:1/", alarm_webhook_queue=2)  # never started
    for caller in range(5):
        acting.actions.raised("d", str(caller), 1.0, 1.0, key=str(caller))
    assert acting.metric("holdfast_alarm_webhook_total", outcome="dropped") == 3
    acting.actions.stop()


def test_by_default_nobody_is_throttled_and_where_wanted_for_a_while() -> None:
    unchanged = Acting()
    unchanged.actions.raised("d", "abc", 1.0, 1.0, key="10.0.0.7")
    assert unchanged.weights("10.0.0.7") == 2.0
    acting = Acting(alarm_throttle=0.1, alarm_throttle_seconds=60)
    acting.actions.raised("d", "abc", 1.0, 1.0, key="10.0.0.7")
    acting.actions.raised("d", "", 1.0, 1.0)
    assert acting.weights("10.0.0.7") == pytest.approx(0.2)
    assert acting.weights("10.0.0.8") == 2.0
    acting.now += 59
    acting.actions.raised("d", "abc", 1.0, 1.0, key="10.0.0.7")
    acting.now += 59
    assert acting.weights("10.0.0.7") == pytest.approx(0.2)
    assert acting.metric("holdfast_throttled_callers_total") == 1
    acting.now += 2
    assert acting.weights("10.0.0.7") == 2.0


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://host/x", "no-address"])
def test_a_webhook_is_on_the_web(address: str) -> None:
    with pytest.raises(ValidationError):
        AlarmSettings(alarm_webhook=address)


def test_alarms_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Acting().actions.raised("query-similarity", "", 20.0, 12.0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
