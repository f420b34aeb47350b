"""Sends alarms to an address of the operator's, as JSON, from a thread of its own."""

import json
import logging
import queue
import threading
import urllib.request
from contextlib import suppress
from dataclasses import asdict
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from holdfast.server.alarms.alarm import Alarm
from holdfast.server.alarms.metrics import AlarmMetrics

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
"""Seconds between the first try and the second; each further pause is twice as long."""

STOP_TIMEOUT_S = 2.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET without the alarm, and could lead anywhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Webhook:
    """POSTs {"detector", "caller", "score", "threshold", "when", "count"} for each new alarm.

    Args:
        address: http or https; its path may be a secret, so only the host is ever logged.
        metrics: counts what is sent, fails or is dropped.
        timeout: seconds of one try.
        tries: of one alarm; any status from 200 to 299 is success.
        capacity: alarms that wait; more are dropped.

    """

    def __init__(self, address: str, metrics: AlarmMetrics, *, timeout: float, tries: int, capacity: int) -> None:
        self._address, self._metrics, self._timeout, self._tries = address, metrics, timeout, tries
        self._host = urlsplit(address).hostname
        self._queue: queue.Queue[Alarm | None] = queue.Queue(capacity)
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._stopping = threading.Event()
        self._complained = False
        self._thread = threading.Thread(target=self._run, name="alarm-webhook", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more; what waits is dropped."""
        self._stopping.set()
        with suppress(queue.Full):  # the thread looks at the flag after each alarm, too
            self._queue.put_nowait(None)
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def send(self, alarm: Alarm) -> None:
        """Queue one alarm. Never blocks."""
        try:
            self._queue.put_nowait(alarm)
        except queue.Full:
            self._metrics.webhook("dropped")

    def _run(self) -> None:
        while (alarm := self._queue.get()) is not None and not self._stopping.is_set():
            self._metrics.webhook("sent" if self._deliver(alarm) else "failed")

    def _deliver(self, alarm: Alarm) -> bool:
        body = json.dumps(asdict(alarm)).encode()
        for attempt in range(self._tries):
            if attempt and self._stopping.wait(FIRST_PAUSE_S * 2 ** (attempt - 1)):
                return False
            request = urllib.request.Request(  # noqa: S310 - the settings let nothing but http and https through
                self._address, body, {"Content-Type": "application/json"}, method="POST"
            )
            try:
                with self._opener.open(request, timeout=self._timeout):
                    self._complained = False
                    return True
            except (URLError, OSError, ValueError) as error:
                last = str(error)
                if isinstance(error, HTTPError):
                    error.close()  # which is the reply, too
        if not self._complained:
            log.warning("alarms do not reach the webhook on %s: %s", self._host, last)
            self._complained = True
        return False
