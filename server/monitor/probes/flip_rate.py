"""How often an attack changes the answer, with its uncertainty."""

from collections import deque
from dataclasses import dataclass

from holdfast.intervals import Rate


@dataclass(frozen=True)
class Interval:
    """A proportion and its 95 % interval by Wilson, all in [0, 1]."""

    estimate: float
    low: float
    high: float


class FlipRate:
    """The flip rate over the latest `window` probes: the operator asks about now, not about last week."""

    def __init__(self, window: int = 1000) -> None:
        self._flips: deque[bool] = deque(maxlen=window)

    def add(self, flipped: bool) -> Interval:
        """Counts one judged probe and returns the rate so far."""
        self._flips.append(flipped)
        rate = Rate(sum(self._flips), len(self._flips))
        return Interval(rate.value, *rate.interval)
