"""How far a measured rate can be from the true one."""

from dataclasses import dataclass
from math import sqrt

NORMAL_95 = 1.959963984540054
"""The two-sided 95 % quantile of the standard normal distribution."""


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
