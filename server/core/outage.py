"""What the log says while an index on another machine does not answer: its beginning, its end, and a line now and then."""

import logging
import time

log = logging.getLogger(__name__)

SAY_EVERY_S = 30.0


class OutageLog:
    """Logs an outage of which every batch is an instance. Belongs to the engine's threads."""

    def __init__(self) -> None:
        self._since = self._said = 0.0

    def log(self, reason: str) -> None:
        """A batch was not answered for this reason."""
        now = time.monotonic()
        if not self._since:
            self._since = now
            log.error("%s; calls are refused with UNAVAILABLE until it answers", reason)
        elif now - self._said < SAY_EVERY_S:
            return
        else:
            log.error("%s, for %.0f s now", reason, now - self._since)
        self._said = now

    def ended(self) -> None:
        """A batch was answered."""
        if self._since:
            log.warning("the index answers again, after %.1f s", time.monotonic() - self._since)
            self._since = 0.0
