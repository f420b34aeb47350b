"""Callers who get less of a busy server for a while."""

import time
from collections.abc import Callable

MOST_THROTTLED = 10_000


class CallerThrottle:
    """The weight of each caller among others, lowered for those whom an alarm names. Any thread may use it.

    Args:
        weight: of a caller by its key, without alarms.
        factor: by which it is multiplied after one; 0 leaves all weights alone.
        seconds: how long.
        clock: seconds.

    """

    def __init__(
        self, weight: Callable[[str], float], factor: float, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._weight, self._factor, self._seconds, self._clock = weight, factor, seconds, clock
        self._until: dict[str, float] = {}  # the key whose throttling ends first is the first

    def __call__(self, key: str) -> float:
        """The weight of a caller now."""
        weight = self._weight(key)
        until = self._until.get(key)
        return weight if until is None or until <= self._clock() else weight * self._factor

    def throttle(self, key: str) -> bool:
        """Lower the weight of a caller from now on. Returns whether it was not lowered before."""
        if not self._factor:
            return False
        now = self._clock()
        before = self._until.pop(key, 0.0)
        self._until[key] = now + self._seconds
        if len(self._until) > MOST_THROTTLED:
            del self._until[next(iter(self._until))]
        return before <= now
