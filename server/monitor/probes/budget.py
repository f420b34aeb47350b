"""A token bucket of CPU time."""

import time
from collections.abc import Callable


class CpuBudget:
    """Lets one thread use `rate` CPU seconds per second of wall clock, with at most one second's worth in hand.

    Work is charged after it is done (its cost is not known before), so the bucket may go into debt; `wait` says how
    long until it is out of it. Only the calling thread's own time counts: ONNX Runtime and FAISS run on it, one thread
    each.
    """

    def __init__(
        self,
        rate: float,
        *,
        wall: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        if rate <= 0:
            raise ValueError(f"a budget of {rate} CPU seconds per second allows no work")
        self._rate, self._wall, self._cpu = rate, wall, cpu
        self._tokens = rate
        self._last_wall, self._last_cpu = wall(), cpu()

    def wait(self) -> float:
        """Settles the account and returns the seconds of wall clock until work may go on (0: now)."""
        wall, cpu = self._wall(), self._cpu()
        earned = (wall - self._last_wall) * self._rate
        self._tokens = min(self._rate, self._tokens + earned) - (cpu - self._last_cpu)
        self._last_wall, self._last_cpu = wall, cpu
        return max(0.0, -self._tokens / self._rate)
