"""Rates on the same images: an interval of their difference that knows they are paired.

Each rate has its Wilson interval; the interval of the difference is put together from the two by the method of variance
estimates recovery (G. Y. Zou, A. Donner, Statistics in Medicine 2008; Newcombe 1998 for rates), which needs the
correlation of the two estimates. That one comes from the images: with h_i whether image i counts as a success and t_i
whether it counts at all (all for an accuracy, the clean-correct ones for a DSR, which differ from row to row), image i
moves the rate p = sum h / sum t by (h_i - p t_i) / sum t, and the correlation of two rates is that of these influences.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from holdfast.intervals.rates import Rate

Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Counted:
    """A rate, image by image: bool [N] successes among bool [N] trials."""

    success: Bits
    trial: Bits

    def __post_init__(self) -> None:
        if self.success.shape != self.trial.shape or bool((self.success & ~self.trial).any()):
            raise ValueError("successes must be some of the trials")

    @property
    def rate(self) -> Rate:
        """Without the images."""
        return Rate(int(self.success.sum()), int(self.trial.sum()))


@dataclass(frozen=True)
class Difference:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        """In percentage points: "+11.0 [+7.1, +14.8]"."""
        return f"{100 * self.estimate:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


def difference(one: Counted, other: Counted) -> Difference:
    """`one` less `other`, both counted on the same N images in the same order.

    Where one of them was never tried nothing is known: NaN in [-1, 1].

    Raises:
        ValueError: they were counted on different numbers of images.

    """
    if one.trial.shape != other.trial.shape:
        raise ValueError(f"{len(one.trial)} and {len(other.trial)} images cannot be paired")
    p, q = one.rate, other.rate
    if not p.trials or not q.trials:
        return Difference(float("nan"), -1.0, 1.0)
    (p_low, p_high), (q_low, q_high) = p.interval, q.interval
    together = correlation(one, other)
    estimate = p.value - q.value
    return Difference(
        estimate,
        max(-1.0, estimate - _length(p.value - p_low, q_high - q.value, together)),
        min(1.0, estimate + _length(p_high - p.value, q.value - q_low, together)),
    )


def correlation(one: Counted, other: Counted) -> float:
    """Of the two rates, in [-1, 1].

    Two images are added on which the rows disagree, one either way: that they agree on all of a few images does not mean
    that they always do.
    """
    first, second = one.rate.value, other.rate.value
    mine = np.append(one.success - first * one.trial, [1 - first, -first])
    theirs = np.append(other.success - second * other.trial, [-second, 1 - second])
    return float(np.clip(mine @ theirs / sqrt((mine @ mine) * (theirs @ theirs)), -1, 1))


def _length(one: float, other: float, together: float) -> float:
    return sqrt(max(0.0, one**2 + other**2 - 2 * together * one * other))
