"""A burst of answers that are near another one: an attack at work, whichever it is, or adversarial images made elsewhere.

A tenth of the answers to held-out images have a margin below a bound. For each caller, and for all together, a cumulative sum
(Page 1954) adds up how much more often than that it happens: the logarithm of the odds that 60 % of the images are below the
bound and not 20 %, which leaves room for callers whose images are merely harder.
"""

from math import log

import numpy as np

from holdfast.server.monitor.detectors.callers import NOBODY
from holdfast.server.monitor.detectors.detector import ALL, DetectorContext, TrafficDetector
from holdfast.server.monitor.detectors.traffic import ObservedTraffic

ORDINARY, ATTACKED = 0.2, 0.6
"""Shares of images below the bound."""

THRESHOLD = 20.0
"""Nats. Where 20 % are below the bound the sum passes it at most once in e^20 images; where 10 % are, it never does."""


class LowMargin(TrafficDetector):
    """One sum for each caller, and one for all."""

    name = "low-margin"

    def __init__(self, context: DetectorContext, bound: float) -> None:
        super().__init__(context)
        self._bound = bound
        self._sums = [0.0] * (context.numbers.capacity + 1)  # the last is that of all callers

    @classmethod
    def make(cls, context: DetectorContext) -> "LowMargin | None":
        """Where the bundle's held-out images have margins."""
        bound = context.near.normal.doubtful
        return cls(context, bound) if np.isfinite(bound) else None

    def look(self, traffic: ObservedTraffic) -> None:
        """One reason for each new image while the sum is above the threshold. Variants of an image count once, as one."""
        new = self.context.near.new(traffic)
        below, callers = traffic.soft_margin[new] < self._bound, traffic.callers[new]
        steps = np.where(below, log(ATTACKED / ORDINARY), log((1 - ATTACKED) / (1 - ORDINARY)))
        for caller, step in zip(callers.tolist(), steps.tolist(), strict=True):
            self._add(ALL, step)
            if caller != NOBODY:
                self._add(caller, step)

    def forget(self, caller: int) -> None:
        """Begin anew."""
        self._sums[caller] = 0

    def _add(self, caller: int, step: float) -> None:
        total = self._sums[caller] = min(max(0.0, self._sums[caller] + step), 2 * THRESHOLD)  # so that it falls soon afterwards
        if total >= THRESHOLD:
            self.alarm(caller, total, THRESHOLD)
