"""How far a measured rate, or the difference of two, can be from the true one."""

from holdfast.intervals.paired import Counted, Difference, difference
from holdfast.intervals.rates import NORMAL_95, Rate, poisson_upper, wilson

__all__ = ["NORMAL_95", "Counted", "Difference", "Rate", "difference", "poisson_upper", "wilson"]
