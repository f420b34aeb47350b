"""What waits for the engine are calls, not images.

A call's images are cut where a batch is full, and its results are handed out as slices of batches. So a call of many images
costs the engine what a call of one does.
"""

from asyncio import Future
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from holdfast.model.preprocess import Pixels
from holdfast.server.core.request import BatchSlice, Images, Want
from holdfast.server.core.result import AnsweredBatch
from holdfast.server.core.snapshot import ModelSnapshot


@dataclass(slots=True, eq=False)
class Call:
    """One call on its way through one or more batches; of its images, the first `cut` are in a batch already.

    `model` is set once a part of the call is in a batch and another is not: all of it is answered by one model.
    """

    future: Future[list[BatchSlice]]
    images: Images
    deadline: float
    want: Want
    caller: str
    enqueued: float
    missing: int
    cut: int = 0
    model: ModelSnapshot | None = None
    slices: dict[int, BatchSlice] = field(default_factory=dict)  # by their first image, as batches may end in any order


@dataclass(slots=True, eq=False)
class Piece:
    """The images [start, start + count) of one call, which share a batch."""

    call: Call
    start: int
    count: int


class RequestQueue:
    """Calls in the order in which they came. Whoever uses it from several threads holds a lock of their own.

    Attributes:
        images: of all calls, those that are in no batch yet.

    """

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        self.images = 0

    @property
    def since(self) -> float:
        """When the oldest call came, where there is any."""
        return self._calls[0].enqueued

    def append(self, call: Call) -> None:
        """Add a call of at least one image."""
        self._calls.append(call)
        self.images += len(call.images)

    def cut(self, most: int, current: ModelSnapshot) -> tuple[ModelSnapshot, list[Piece]]:
        """Take out the oldest images, at most `most` of them, and the model that answers them.

        That is the current one, but where the oldest call has begun with another: then the rest of that call is alone in its
        batch. Otherwise calls that each reach into the next batch would keep an old model in use for ever.
        """
        begun = self._calls[0].model
        stale = begun is not None and begun is not current
        model = begun if begun is not None else current
        pieces: list[Piece] = []
        room = most
        while self._calls and room:
            call = self._calls[0]
            start, left = call.cut, len(call.images) - call.cut
            if left <= room:
                count = left
                self._calls.popleft()
            else:
                count = room
                call.model = model
            call.cut += count
            room -= count
            pieces.append(Piece(call, start, count))
            if stale:
                break
        self.images -= most - room
        return model, pieces


def stack(pieces: Sequence[Piece]) -> Pixels:
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


def deliver(pieces: list[Piece], results: AnsweredBatch) -> None:
    """Hand each call its slice of a batch's results, and the caller all of them once none is missing."""
    start = 0
    for piece in pieces:
        call, stop = piece.call, start + piece.count
        call.slices[piece.start] = BatchSlice(results, start, stop)
        call.missing -= piece.count
        if call.missing == 0 and not call.future.done():
            call.future.set_result([call.slices[first] for first in sorted(call.slices)])
        start = stop


def fail(calls: Sequence[Call], error: type[Exception]) -> None:
    """Raise the error where the callers wait."""
    for call in calls:
        if not call.future.done():
            call.future.set_exception(error())
