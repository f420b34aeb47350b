"""From the engine's threads back to the event loop: answers to those who still wait, and to nobody else."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.server.core.errors import DeadlineError
from holdfast.server.core.request import BatchSlice
from holdfast.server.core.result import AnsweredBatch
from holdfast.server.core.scheduling.queue import Call, Piece
from holdfast.server.metrics.metrics import Metrics

AT_ONCE = 64
"""Calls that are woken in one iteration of the event loop: each of them writes a reply in the next."""


class Delivery:
    """Hands results and errors to an event loop, from any thread.

    Args:
        metrics: counts what was embedded for nobody.

    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin; to be called on the loop."""
        self._loop = asyncio.get_running_loop()

    def results(self, pieces: Sequence[Piece], batch: AnsweredBatch, timed: tuple[float, float] = (0.0, 0.0)) -> None:
        """Hand each call its slice of a batch's results, and the caller all of them once none is missing.

        `timed` are `began` and `seconds` of BatchSlice.
        """
        self._on_loop(self._deliver, pieces, batch, timed, 0, 0)

    def errors(self, calls: Sequence[Call], error: Callable[[], Exception]) -> None:
        """Raise an error where the callers wait."""
        if calls:
            self._on_loop(_fail, calls, error)

    def keep_wanted(self, pieces: list[Piece]) -> tuple[list[Piece], NDArray[np.intp] | None]:
        """Those pieces of a batch that somebody waits for, and the numbers of their images; None where that is all of them."""
        now = time.monotonic()
        wanted = [piece for piece in pieces if not piece.call.future.done() and piece.call.deadline > now]
        if len(wanted) == len(pieces):
            return pieces, None
        kept = set(map(id, wanted))
        unwanted = [piece for piece in pieces if id(piece) not in kept]
        self._count(unwanted)
        self.errors([piece.call for piece in unwanted], DeadlineError)
        rows = np.repeat([id(piece) in kept for piece in pieces], [piece.count for piece in pieces])
        return wanted, np.flatnonzero(rows)

    def _count(self, unwanted: Sequence[Piece]) -> None:
        for piece in unwanted:
            self._metrics.unwanted("cancelled" if piece.call.future.done() else "late").inc(piece.count)

    def _deliver(
        self, pieces: Sequence[Piece], batch: AnsweredBatch, timed: tuple[float, float], first: int, start: int
    ) -> None:
        now = time.monotonic()
        for piece in pieces[first : first + AT_ONCE]:
            call, stop = piece.call, start + piece.count
            if call.future.done() or call.deadline <= now:
                self._count([piece])
            part = BatchSlice(batch, start, stop, *timed)
            call.missing -= piece.count
            if call.missing or call.slices:  # the others were in other batches
                call.slices[piece.start] = part
            if call.missing == 0 and not call.future.done():
                parts = [call.slices[first] for first in sorted(call.slices)] if call.slices else [part]
                call.future.set_result(parts)
            start = stop
        if first + AT_ONCE < len(pieces):
            asyncio.get_running_loop().call_soon(self._deliver, pieces, batch, timed, first + AT_ONCE, start)

    def _on_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)


def _fail(calls: Sequence[Call], error: Callable[[], Exception]) -> None:
    for call in calls:
        if not call.future.done():
            call.future.set_exception(error())
