"""How far a measured rate can be from the true one."""

from dataclasses import dataclass
from math import exp, fsum, lgamma, log, sqrt

NORMAL_95 = 1.959963984540054
"""The two-sided 95 % quantile of the standard normal distribution."""

BISECTIONS = 60
"""Halvings of an interval, after which nothing is left of it."""


def wilson(successes: int, trials: int, *, quantile: float = NORMAL_95) -> tuple[float, float]:
    """The interval of Wilson (1927) around `successes` of `trials`: it stays honest near 0 and 1 and for few trials.

    Args:
        successes: how often it happened, 0 <= successes <= trials.
        trials: how often it was tried; with none, nothing is known and the interval is (0, 1).
        quantile: two-sided normal quantile of the confidence wanted, 95 % unless told.

    Returns:
        (low, high), 0 <= low <= successes / trials <= high <= 1.

    Raises:
        ValueError: where the counts are impossible.

    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials cannot be")
    if trials == 0:
        return 0.0, 1.0
    rate, shrink = successes / trials, quantile**2 / trials
    centre = (rate + shrink / 2) / (1 + shrink)
    reach = quantile * sqrt(rate * (1 - rate) / trials + shrink / (4 * trials)) / (1 + shrink)
    # Rounding errors must not push a bound past the rate itself.
    return max(0.0, min(rate, centre - reach)), min(1.0, max(rate, centre + reach))


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happened, of how many times it could have."""

    successes: int
    trials: int

    @property
    def value(self) -> float:
        """The fraction; NaN where it was never tried."""
        return self.successes / self.trials if self.trials else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the fraction."""
        return wilson(self.successes, self.trials)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def poisson_upper(events: int, *, confidence: float = 0.95) -> float:
    """The largest mean of a Poisson distribution that `events` do not speak against: the exact one-sided bound (Garwood 1936).

    So many events or fewer are seen with a probability of 1 - `confidence` where the mean is this one, and of less where it is
    larger. With no events and 95 % it is 3.0.

    Args:
        events: how many were seen, at least 0.
        confidence: in (0, 1).

    Raises:
        ValueError: where either is impossible.

    """
    if events < 0 or not 0 < confidence < 1:
        raise ValueError(f"{events} events, confidence {confidence}: neither can be negative, and confidence is below 1")
    low, high = float(events), 2.0 * events + 10 - 2 * log(1 - confidence)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(events, middle) > 1 - confidence else (low, middle)
    return high


def _at_most(events: int, mean: float) -> float:
    """The probability of so many events or fewer."""
    return fsum(exp(number * log(mean) - mean - lgamma(number + 1)) for number in range(events + 1)) if mean else 1.0
