"""Whether two rows differ in what is no rate of images: paired 95 % intervals.

Rates of images are for `holdfast.intervals.difference`.

**Over seeds** (`difference_over_seeds`), of any figure: Student's t of the differences, seed by seed. It says whether another
training would come to the same, which no number of test images can say of one training.

**Of a statistic of images** that is no rate, an EER or an area (`difference_of`): the bootstrap's percentiles (Efron 1979), the
same images drawn for both.
"""

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from holdfast.intervals import Difference

Rows = NDArray[np.int64]
DRAWS = 2000
"""Of the bootstrap."""


def difference_over_seeds(one: Sequence[float], other: Sequence[float]) -> Difference:
    """The mean of `one` less that of `other`, each a figure of runs that differ in their seed, in the same order of seeds.

    Of one seed nothing is known about another: the interval is unbounded.

    Raises:
        ValueError: no seed, or not as many of one as of the other.

    """
    if len(one) != len(other) or not len(one):
        raise ValueError(f"figures of {len(one)} and {len(other)} seeds cannot be paired")
    apart = np.subtract(one, other, dtype=np.float64)
    mean = float(apart.mean())
    if len(apart) == 1:
        return Difference(mean, -np.inf, np.inf)
    reach = float(student.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / sqrt(len(apart)))
    return Difference(mean, mean - reach, mean + reach)


def difference_of(
    one: Callable[[Rows], float], other: Callable[[Rows], float], units: int, *, seed: int = 0, draws: int = DRAWS
) -> Difference:
    """A statistic of one row less that of another, with the bootstrap's 2.5 and 97.5 percentiles.

    Args:
        one: its value on the units at int64 [n] places, with repetitions.
        other: likewise, of the other row on the same units.
        units: N, which are drawn with replacement: images, pairs, or the speakers that trials belong to.
        seed: of the draws.
        draws: their number.

    Raises:
        ValueError: there are no units.

    """
    if units < 1:
        raise ValueError("there is nothing to draw from")
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(0, units, units) for _ in range(draws))
    low, high = np.percentile([one(rows) - other(rows) for rows in drawn], (2.5, 97.5))
    everything = np.arange(units)
    return Difference(float(one(everything) - other(everything)), float(low), float(high))
