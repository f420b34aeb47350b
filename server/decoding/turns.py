"""How much of the event loop's time long work takes between two looks at everything else."""

import asyncio
import time
from collections.abc import Sequence

from holdfast.server.decoding.fair_queue import FairQueue

SLICE_S = 2.5e-3
"""Seconds of work in one turn of the event loop, over all callers and kinds of work."""

LEARNED_FROM, SMOOTHING, MOST_SLOWER = 0.25, 0.2, 8.0
"""Share of a slice that has to be spent for it to teach how long work takes here; the weight of the latest, and the most."""

LONG_BYTES, WRITTEN_S = 2**16, 1e-9
"""Bytes of a reply that waits for its turn to be written; and expected seconds of joining and writing it, for each byte."""


class LoopTurns:
    """Grants the loop's time in slices, and in turns by caller where there is not enough. Belongs to one event loop.

    A slice ends by what its work was expected to take, and by the clock: other work of the same turn counts, and a machine may
    be slower than expected.
    """

    def __init__(self, seconds: float = SLICE_S) -> None:
        self._slice, self._left, self._end = seconds, seconds, 0.0
        self._waiting: FairQueue[tuple[asyncio.Future[None], float]] = FairQueue()
        self._renewing, self._granted, self._slower = False, 0.0, 1.0

    def taken(self, seconds: float) -> bool:
        """Take so many seconds of the loop, if they are to be had at once. `take`, where they are, without its price."""
        if self._renewing and (self._left < min(seconds, self._slice) or time.perf_counter() >= self._end):
            return False  # of a slice that has begun; one that has not is anybody's
        self._spend(seconds)
        return True

    async def take(self, caller: str, seconds: float) -> None:
        """Wait until the caller may have so many seconds of the loop; as a rule that is at once."""
        if self.taken(seconds):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.push((turn, seconds), caller, seconds)
        await turn

    async def joined(self, pieces: Sequence[bytes], caller: str) -> bytes:
        """A reply made of these pieces. Joining and writing a long one is work, too, and several may be ready at once."""
        length = sum(map(len, pieces))
        if length >= LONG_BYTES:
            await self.take(caller, length * WRITTEN_S)
        return b"".join(pieces)

    def _spend(self, seconds: float) -> None:
        self._left -= seconds
        if not self._renewing:
            self._renewing, self._granted = True, self._left + seconds
            self._end = time.perf_counter() + self._slice
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        """Begin the next slice; who waits comes first."""
        self._learn()
        self._renewing, self._left = False, self._slice / self._slower
        while self._left > 0 and (item := self._waiting.pop()) is not None:
            turn, seconds = item
            if not turn.done():
                turn.set_result(None)
                self._spend(seconds)

    def _learn(self) -> None:
        """By how much a slice has taken longer than was expected: the next ones are expected to, as well."""
        expected = self._granted - self._left
        if expected >= LEARNED_FROM * self._slice:
            took = time.perf_counter() - self._end + self._slice
            self._slower += SMOOTHING * (min(max(took / expected, 1.0), MOST_SLOWER) - self._slower)
