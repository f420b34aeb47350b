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


def cpu_seconds_of(work: Callable[[], object], seconds: float) -> float:
    """CPU seconds of the calling thread that doing it takes: the mean of as often as fits into so many seconds, once at least.

    What else the machine does changes it less than it changes the time that passes. Work on other threads is not counted.
    """
    done, begun, began = 0, time.thread_time(), time.perf_counter()
    while time.perf_counter() - began < seconds or not done:
        work()
        done += 1
    return (time.thread_time() - begun) / done
