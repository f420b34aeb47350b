"""Whether the server lives, and whether it takes calls: what /healthz and /readyz say."""

import asyncio
import time
from collections.abc import Callable, Mapping

TURN_EVERY_S = 1.0
LOOP_TIMEOUT_S = 10.0
"""Seconds without a turn of the server's event loop after which it does not live."""

Check = Callable[[], str | None]
"""Says what is wrong, in a line; None where all is well. Any thread may ask."""


class Conditions:
    """Looks at one server. Made and started on its event loop; asked from the metrics' thread, which no hanging loop holds up.

    Args:
        last_batch: time.monotonic() when the model has ended its latest batch, well or not; 0 before the first.
        is_serving: whether health checks over gRPC say SERVING.
        batch_timeout: seconds without the end of a batch, canaries included, after which the model hangs.

    """

    def __init__(self, last_batch: Callable[[], float], is_serving: Callable[[], bool], batch_timeout: float) -> None:
        self._last_batch, self._is_serving, self._batch_timeout = last_batch, is_serving, batch_timeout
        self._turned = time.monotonic()
        self._turning: asyncio.Task[None] | None = None
        self._ending = False

    @property
    def pages(self) -> Mapping[str, Check]:
        """The checks by their paths."""
        return {"/healthz": self.not_live, "/readyz": self.not_ready}

    def start(self) -> None:
        """Watch the loop from now on."""
        self._turning = asyncio.create_task(self._turn())

    def end(self) -> None:
        """The server drains: it sends no canaries any more, and is alive until it is gone."""
        self._ending = True

    def stop(self) -> None:
        """Watch no longer."""
        if self._turning is not None:
            self._turning.cancel()

    def not_live(self) -> str | None:
        """Why a new process would be better than this one."""
        now, last_batch = time.monotonic(), self._last_batch()
        if now - self._turned > LOOP_TIMEOUT_S:
            return f"the event loop has not turned for {now - self._turned:.0f} s"
        if last_batch and not self._ending and now - last_batch > self._batch_timeout:
            return f"the model has not ended a batch for {now - last_batch:.0f} s"
        return None

    def not_ready(self) -> str | None:
        """Why calls had better go elsewhere: as health checks over gRPC have it, for as long as the loop can change that."""
        return self.not_live() or (None if self._is_serving() else "health is NOT_SERVING")

    async def _turn(self) -> None:
        while True:
            self._turned = time.monotonic()
            await asyncio.sleep(TURN_EVERY_S)
