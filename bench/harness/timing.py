"""How long work takes, and how often it can be done."""

import time
from collections.abc import Callable


def seconds_of(work: Callable[[], object]) -> float:
    """Of doing it once."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def times_a_second(work: Callable[[], object], seconds: float) -> float:
    """How often it is done a second: over and over, at least once, until so many seconds have passed."""
    done, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds or not done:
        work()
        done += 1
    return done / spent
