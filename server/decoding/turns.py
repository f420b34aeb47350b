"""How much of the event loop's time decoding takes between two looks at everything else."""

import asyncio

from holdfast.server.decoding.fair_queue import FairQueue

SLICE_S = 4e-3
"""Expected seconds of decoding in one turn of the event loop, over all callers."""


class LoopTurns:
    """Grants the loop's time in slices, and in turns by caller where there is not enough. Belongs to one event loop."""

    def __init__(self, seconds: float = SLICE_S) -> None:
        self._slice, self._left = seconds, seconds
        self._waiting: FairQueue[tuple[asyncio.Future[None], float]] = FairQueue()
        self._renewing = False

    def taken(self, seconds: float) -> bool:
        """Take so many seconds of the loop, if they are to be had at once. `take`, where they are, without its price."""
        if self._left <= 0:
            return False
        self._spend(seconds)
        return True

    async def take(self, caller: str, seconds: float) -> None:
        """Wait until the caller may have so many seconds of the loop; as a rule that is at once."""
        if self.taken(seconds):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.push((turn, seconds), caller, seconds)
        await turn

    def _spend(self, seconds: float) -> None:
        self._left -= seconds
        if not self._renewing:
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        """Begin the next slice; who waits comes first."""
        self._renewing, self._left = False, self._slice
        while self._left > 0 and (item := self._waiting.pop()) is not None:
            turn, seconds = item
            if not turn.done():
                turn.set_result(None)
                self._spend(seconds)
