"""What waits for the engine are calls, not images.

A call's images are cut where a batch is full, and its results are handed out as shares of batches. So a call of many images
costs the engine what a call of one does.
"""

from asyncio import Future
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from holdfast.model.preprocess import Pixels
from holdfast.server.core.request import BatchSlice, Images

B = TypeVar("B")


@dataclass(slots=True, eq=False)
class Call(Generic[B]):
    """One call on its way through one or more batches; of its images, the first `cut` are in a batch already."""

    future: Future[list[BatchSlice[B]]]
    images: Images
    deadline: float
    enqueued: float
    missing: int
    cut: int = 0
    shares: dict[int, BatchSlice[B]] = field(default_factory=dict)  # by their first image, as batches may end in any order


@dataclass(slots=True, eq=False)
class Piece(Generic[B]):
    """The images [start, start + count) of one call, which share a batch."""

    call: Call[B]
    start: int
    count: int


class RequestQueue(Generic[B]):
    """Calls in the order in which they came. Whoever uses it from several threads holds a lock of their own.

    Attributes:
        images: of all calls, those that are in no batch yet.

    """

    def __init__(self) -> None:
        self._calls: deque[Call[B]] = deque()
        self.images = 0

    @property
    def since(self) -> float:
        """When the oldest call came, where there is any."""
        return self._calls[0].enqueued

    def append(self, call: Call[B]) -> None:
        """One more, of at least one image."""
        self._calls.append(call)
        self.images += len(call.images)

    def cut(self, most: int) -> list[Piece[B]]:
        """Take out the oldest images, at most `most` of them."""
        pieces: list[Piece[B]] = []
        room = most
        while self._calls and room:
            call = self._calls[0]
            start, left = call.cut, len(call.images) - call.cut
            if left <= room:
                count = left
                self._calls.popleft()
            else:
                count = room
            call.cut += count
            room -= count
            pieces.append(Piece(call, start, count))
        self.images -= most - room
        return pieces


def stack(pieces: Sequence[Piece[B]]) -> Pixels:
    """Images of one shape as a batch.

    numpy would let go of the GIL for each copy, and wait for the event loop to give it back; joining bytes does not.
    """
    parts: list[Pixels] = []
    for piece in pieces:
        images = piece.call.images
        if piece.count < len(images):
            images = images[piece.start : piece.start + piece.count]
        if isinstance(images, np.ndarray):
            parts.append(images)
        else:
            parts.extend(images)
    first = pieces[0].call.images
    if len(parts) == 1 and isinstance(first, np.ndarray):
        return parts[0]
    return np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(-1, *first[0].shape)  # type: ignore[arg-type]


def deliver(pieces: list[Piece[B]], results: B) -> None:
    """Hand each call its share of a batch's results, and the caller all of them once none is missing."""
    start = 0
    for piece in pieces:
        call, stop = piece.call, start + piece.count
        call.shares[piece.start] = BatchSlice(results, start, stop)
        call.missing -= piece.count
        if call.missing == 0 and not call.future.done():
            call.future.set_result([call.shares[first] for first in sorted(call.shares)])
        start = stop


def fail(calls: Sequence[Call[B]], error: type[Exception]) -> None:
    """Tell callers that nothing will come."""
    for call in calls:
        if not call.future.done():
            call.future.set_exception(error())
