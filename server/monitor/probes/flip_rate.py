"""How often an attack changes the answer, with its uncertainty."""

from collections import deque
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True)
class Interval:
    """A proportion and its confidence interval, all in [0, 1]."""

    estimate: float
    low: float
    high: float


def wilson(successes: int, trials: int, z: float = 1.96) -> Interval:
    """Wilson's score interval (JASA 1927), at 95 % by default; honest at 0 and 1, where the normal one has no width."""
    if trials <= 0:
        raise ValueError("no trials, no proportion")
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


class FlipRate:
    """The flip rate over the latest `window` probes: the operator asks about now, not about last week."""

    def __init__(self, window: int = 1000) -> None:
        self._flips: deque[bool] = deque(maxlen=window)

    def add(self, flipped: bool) -> Interval:
        """Counts one judged probe and returns the rate so far."""
        self._flips.append(flipped)
        return wilson(sum(self._flips), len(self._flips))
