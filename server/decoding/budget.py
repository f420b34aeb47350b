"""How much decoding may wait at a time, of one caller and of all."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from holdfast.server.metrics.decoding import DecodingMetrics


class NoRoomError(Exception):
    """More decoding than may wait; there will be room in about `retry_after` seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too much decoding waits; try again in {retry_after:.1f} s")
        self.retry_after = retry_after


class BudgetLimits(NamedTuple):
    """Expected seconds of decoding that wait or are under way, of one caller and of all, and bytes of such images."""

    caller_seconds: float
    seconds: float
    bytes: int


class DecodeBudget:
    """Counts the decoding of calls from its begin to its end, and refuses what is too much. Belongs to one event loop."""

    def __init__(self, limits: BudgetLimits, metrics: DecodingMetrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._by_caller: defaultdict[str, float] = defaultdict(float)
        self.seconds, self._bytes = 0.0, 0

    @contextmanager
    def hold(self, caller: str, images: int, seconds: float, size: int) -> Iterator[None]:
        """Hold room for some images of a caller, that take so many seconds and bytes together.

        Raises:
            NoRoomError: there is none beside what waits already; alone they would have it.

        """
        limits, own = self._limits, self._by_caller.get(caller, 0.0)
        for limit, waiting, more, most in (
            ("caller", own, seconds, limits.caller_seconds),
            ("queue", self.seconds, seconds, limits.seconds),
            ("bytes", self._bytes, size, limits.bytes),
        ):
            if waiting and waiting + more > most:
                self._metrics.refused(limit, images)
                raise NoRoomError(max(0.05, (own if limit == "caller" else self.seconds) / 2))
        self._add(caller, seconds, size)
        try:
            yield
        finally:
            self._add(caller, -seconds, -size)

    def _add(self, caller: str, seconds: float, size: int) -> None:
        self._by_caller[caller] += seconds
        self.seconds += seconds
        self._bytes += size
        if self._by_caller[caller] < 1e-9:  # sums of floats
            del self._by_caller[caller]
        if not self._by_caller:
            self.seconds, self._bytes = 0.0, 0
        self._metrics.queue_seconds.set(self.seconds)
