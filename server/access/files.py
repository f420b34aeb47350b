"""Files that an operator changes while the server runs: whether one has changed, and a task that looks now and then."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.4
"""Seconds between two looks: what is taken out of a file is in force within a second."""


def fingerprint(path: Path) -> tuple[int, ...]:
    """What changes whenever a file is written or replaced; () where it is not there. Links are followed."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


class FileFollower:
    """Looks at files now and then, on a thread, and afterwards does on the event loop what follows from it.

    Args:
        look: reads what has changed.
        then: called on the loop after every look.
        interval: seconds between two looks.

    """

    def __init__(self, look: Callable[[], object], then: Callable[[], None], *, interval: float = LOOK_EVERY_S) -> None:
        self._look, self._then, self._interval = look, then, interval
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await asyncio.to_thread(self._look)
                self._then()
            except Exception:  # it goes on looking, or tokens taken out would stay in force for ever
                log.exception("a look at the files of tokens and certificates failed")
