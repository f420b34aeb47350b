"""Refused calls: each is counted, and the log has a line now and then, however many there are."""

import logging
import time
from collections import Counter

from holdfast.server.metrics.access import AccessMetrics, Listener, RefusalReason

log = logging.getLogger(__name__)

LINE_EVERY_S = 10.0
"""Seconds between two lines of the log about refused calls."""


class Refusals:
    """Counts refused calls. Belongs to one event loop.

    Args:
        listener: where the calls came.
        metrics: of this process.

    """

    def __init__(self, listener: Listener, metrics: AccessMetrics) -> None:
        self._listener: Listener = listener
        self._metrics = metrics
        self._unsaid: Counter[str] = Counter()
        self._next_line = 0.0

    def add(self, reason: RefusalReason, method: str, peer: str) -> None:
        """Count one. The log says the peer of the latest; nothing that a caller has sent goes there."""
        self._metrics.refused(self._listener, reason)
        self._unsaid[reason] += 1
        now = time.monotonic()
        if now < self._next_line:
            return
        self._next_line = now + LINE_EVERY_S
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self._unsaid.items()))
        self._unsaid.clear()
        log.warning("calls refused for want of a credential: %s; the latest to %s, from %s", counts, method, peer)
