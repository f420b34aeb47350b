"""What waits, served in turns by caller: who sends much, or what costs much, holds up nobody else."""

import heapq
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_REMEMBERED = 65_536
"""Callers whose latest items are remembered at a time; beyond that the oldest are forgotten, and begin anew."""


class FairQueue(Generic[T]):
    """A queue by start-time fair queueing (Goyal, Vin and Cheng, 1996), weights equal.

    Each item has a cost, and each caller a clock, which the costs of its own items move on. The item that begins first by its
    caller's clock comes first, so callers who wait get equal shares of what is spent. A caller who was away begins where the
    others are, and has saved nothing up. Adding and taking take O(log n).

    Args:
        lanes: kinds of items; who takes one may want it of the first lanes alone.

    """

    def __init__(self, lanes: int = 1) -> None:
        self._heaps: list[list[tuple[float, int, T]]] = [[] for _ in range(lanes)]
        self._now, self._count = 0.0, 0
        self._clocks: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._heaps))

    def push(self, item: T, caller: str, cost: float, lane: int = 0) -> None:
        """Add an item behind its caller's others of its lane."""
        start = max(self._now, self._clocks.pop(caller, 0.0))
        self._clocks[caller] = start + cost  # at the end of the dictionary, since it is the latest
        self._count += 1
        heapq.heappush(self._heaps[lane], (start, self._count, item))
        while len(self._clocks) > MOST_REMEMBERED:
            del self._clocks[next(iter(self._clocks))]

    def pop(self, lanes: int | None = None) -> T | None:
        """Take the item whose turn it is, of the first so many lanes; None where they are empty."""
        heaps = [heap for heap in self._heaps[:lanes] if heap]
        if not heaps:
            return None
        start, _, item = heapq.heappop(min(heaps, key=lambda heap: heap[0][:2]))
        self._now = max(self._now, start)
        if not len(self):
            self._clocks = {caller: clock for caller, clock in self._clocks.items() if clock > self._now}
        return item

    def charge(self, caller: str, cost: float) -> None:
        """Count a cost that turned out later: what a caller sends next waits for it."""
        self._clocks[caller] = max(self._now, self._clocks.get(caller, 0.0)) + cost
