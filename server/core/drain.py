"""The end of all that is taken: calls in flight finish, and none begins."""

import asyncio

from holdfast.server.core.errors import DrainingError


class Drain:
    """Counts the calls in flight, and refuses new ones once it has begun. Belongs to one event loop."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._in_flight = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def enter(self) -> None:
        """Count one call that begins. Raises DrainingError once the drain has begun."""
        if self.begun.is_set():
            raise DrainingError
        self._in_flight += 1
        self._empty.clear()

    def leave(self) -> None:
        """Count one call that has ended, however it did."""
        self._in_flight -= 1
        if self._in_flight == 0:
            self._empty.set()

    async def finished(self, grace: float) -> bool:
        """Begin, and wait at most `grace` seconds for the calls in flight. Returns whether all have ended."""
        self.begun.set()
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
