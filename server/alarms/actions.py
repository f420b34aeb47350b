"""What an alarm does: it is kept, counted and logged, and where the operator wants that, sent, and its caller throttled."""

import logging
import time
from collections.abc import Callable

from holdfast.server.alarms.alarm import EVERYBODY, Alarm, AlarmLog
from holdfast.server.alarms.metrics import AlarmMetrics
from holdfast.server.alarms.settings import AlarmSettings
from holdfast.server.alarms.throttle import CallerThrottle
from holdfast.server.alarms.webhook import Webhook

log = logging.getLogger(__name__)

MINUTE = 60.0


class AlarmActions:
    """Belongs to one engine. Only the detectors' thread raises alarms.

    Args:
        settings: what is to be done.
        metrics: counts all of it.
        weights: of callers, which alarms may lower.
        clock: seconds, for the rate of the log.

    Attributes:
        log: the latest alarms.

    """

    def __init__(
        self,
        settings: AlarmSettings,
        metrics: AlarmMetrics,
        weights: CallerThrottle,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.log = AlarmLog(settings.alarm_history, settings.alarm_repeat)
        self.metrics = metrics
        self._weights, self._clock = weights, clock
        self._rate, self._minute, self._logged, self._unlogged = settings.alarm_log_rate, 0.0, 0, 0
        self._webhook = _webhook_of(settings, metrics)

    def start(self) -> None:
        """Begin to send."""
        if self._webhook is not None:
            self._webhook.start()

    def stop(self) -> None:
        """Send nothing more."""
        if self._webhook is not None:
            self._webhook.stop()

    def raised(
        self, detector: str, caller: str, score: float, threshold: float, *, key: str = EVERYBODY, by_similarity: bool = False
    ) -> None:
        """A detector has a reason for an alarm.

        Args:
            detector: its name.
            caller: how the alarm names who is meant; "" for all together.
            score: of the detector.
            threshold: that it reached.
            key: the caller as admission knows it; "" for all together.
            by_similarity: whether it is about many alike images.

        """
        kept, is_new = self.log.add(detector, caller, score, threshold)
        if key != EVERYBODY and self._weights.throttle(key):
            self.metrics.throttled()
        if not is_new:
            return
        self.metrics.began(detector, of_one_caller=key != EVERYBODY, by_similarity=by_similarity)
        self._write(kept)
        if self._webhook is not None:
            self._webhook.send(kept)

    def _write(self, alarm: Alarm) -> None:
        now = self._clock()
        if now - self._minute >= MINUTE:
            self._minute, self._logged = now, 0
        if self._logged >= self._rate:
            self._unlogged += 1
            self.metrics.not_logged()
            return
        more = f"; {self._unlogged} alarms before it were not logged" if self._unlogged else ""
        self._logged, self._unlogged = self._logged + 1, 0
        who = f"caller {alarm.caller}" if alarm.caller != EVERYBODY else "all callers together"
        log.warning("alarm %s about %s: %.3g, threshold %.3g%s", alarm.detector, who, alarm.score, alarm.threshold, more)


def _webhook_of(settings: AlarmSettings, metrics: AlarmMetrics) -> Webhook | None:
    if settings.alarm_webhook is None:
        return None
    return Webhook(
        settings.alarm_webhook,
        metrics,
        timeout=settings.alarm_webhook_timeout,
        tries=settings.alarm_webhook_tries,
        capacity=settings.alarm_webhook_queue,
    )
