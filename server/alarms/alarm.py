"""What a detector has to say, and a bounded memory of it."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

EVERYBODY = ""
"""The caller of alarms that are about the traffic of all callers together."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm, from its first reason until none came for a while.

    Attributes:
        detector: its name.
        caller: a hash of who is meant, or the name itself where the operator wants names; "" for all callers together.
        score: the largest of the detector; what it counts is the detector's.
        threshold: above or at which it goes off.
        when: seconds since 1970 of the first reason.
        count: how many reasons there were since.

    """

    detector: str
    caller: str
    score: float
    threshold: float
    when: float
    count: int


class AlarmLog:
    """The latest alarms. Any thread may use it.

    Args:
        capacity: alarms that are kept; the oldest goes first.
        repeat: seconds without a reason after which the same detector and caller make a new alarm.
        clock: seconds since 1970.

    """

    def __init__(self, capacity: int = 1000, repeat: float = 300.0, clock: Callable[[], float] = time.time) -> None:
        self._capacity, self._repeat, self._clock = capacity, repeat, clock
        self._lock = threading.Lock()
        self._alarms: OrderedDict[int, Alarm] = OrderedDict()  # by number, the oldest first
        self._open: dict[tuple[str, str], tuple[int, float]] = {}  # number of the alarm that goes on, and its latest reason
        self._made = 0

    def add(self, detector: str, caller: str, score: float, threshold: float) -> tuple[Alarm, bool]:
        """One more reason. Returns its alarm, and whether that is a new one."""
        now, key = self._clock(), (detector, caller)
        with self._lock:
            number, latest = self._open.get(key, (-1, 0.0))
            going_on = self._alarms.get(number) if now - latest < self._repeat else None
            if going_on is None:
                number, self._made = self._made, self._made + 1
                alarm = Alarm(detector, caller, score, threshold, now, 1)
            else:
                alarm = replace(going_on, score=max(score, going_on.score), count=going_on.count + 1)
            self._alarms[number] = alarm
            self._open[key] = number, now
            if len(self._alarms) > self._capacity:
                number, gone = self._alarms.popitem(last=False)
                if self._open.get((gone.detector, gone.caller), (-1, 0.0))[0] == number:
                    del self._open[gone.detector, gone.caller]
        return alarm, going_on is None

    def recent(self, count: int | None = None) -> tuple[Alarm, ...]:
        """The latest alarms, the newest first, at most so many."""
        with self._lock:
            newest = tuple(reversed(self._alarms.values()))
        return newest[:count]
