"""Callers that detectors keep apart: a bounded number, each with a number of its own and a hash."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from secrets import token_bytes

import numpy as np
from numpy.typing import NDArray

from holdfast.server.core.scheduling.callers import caller_key

NOBODY = -1
"""The number of a caller for whom there was no room."""

LOOKED_AT = 8
"""Callers of long ago among whom the one that asked least is forgotten: many new ones do not push out one who asks much."""


@dataclass(slots=True)
class _Seat:
    number: int
    images: int


class CallerNumbers:
    """Gives callers numbers in [0, capacity). Belongs to one thread.

    Args:
        capacity: callers at a time.
        named: whether alarms name callers as they are, and not by a hash whose key is drawn at random and never shown.

    Attributes:
        forgotten: how many had to make room.

    """

    def __init__(self, capacity: int, *, named: bool = False) -> None:
        self.capacity, self._named, self._secret = capacity, named, token_bytes(16)
        self._seats: OrderedDict[str, _Seat] = OrderedDict()  # whoever asked last is last
        self._keys: list[str] = []  # by number
        self.forgotten = 0

    def key(self, number: int) -> str:
        """The caller of that number, as admission knows it."""
        return self._keys[number]

    def name(self, number: int) -> str:
        """The same as alarms and metrics name it."""
        return (
            self._keys[number]
            if self._named
            else blake2b(self._keys[number].encode(), key=self._secret, digest_size=6).hexdigest()
        )

    def numbers(self, callers: Sequence[str]) -> tuple[NDArray[np.intp], list[int]]:
        """The callers of one batch by number, NOBODY where there is no room; and which numbers are others' from now on."""
        current: set[str] = set()
        found, taken_over = np.empty(len(callers), np.intp), []
        for row, caller in enumerate(callers):
            key = caller_key(caller)
            seat = self._seats.get(key)
            if seat is None:
                seat = self._seat(key, current)
                if seat is None:
                    found[row] = NOBODY
                    continue
                taken_over.append(seat.number)
            seat.images += 1
            current.add(key)
            self._seats.move_to_end(key)
            found[row] = seat.number
        return found, taken_over

    def _seat(self, key: str, current: set[str]) -> _Seat | None:
        if len(self._keys) < self.capacity:
            seat = _Seat(len(self._keys), 0)
            self._keys.append(key)
        else:
            others = [name for name in islice(self._seats, LOOKED_AT) if name not in current]
            if not others:
                return None
            leaving = min(others, key=lambda name: self._seats[name].images)
            seat = _Seat(self._seats.pop(leaving).number, 0)
            self._keys[seat.number] = key
            self.forgotten += 1
        self._seats[key] = seat
        return seat
