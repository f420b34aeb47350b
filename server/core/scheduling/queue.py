"""What waits for the engine are calls, not images; and their callers take turns.

A call's images are cut where a batch is full, and its results are handed out as slices of batches. So a call of many images
costs the engine what a call of one does.

Callers share the engine by start-time fair queueing (Goyal, Vin and Cheng 1996), counted in images: each has a mark, which
grows with each image of its that is taken, and whose mark is lowest is next. One who comes back begins at the lowest mark of
those who wait. A caller alone is served in the order in which its calls came.
"""

from asyncio import Future
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import numpy as np

from holdfast.model.preprocess import Pixels
from holdfast.server.core.request import BatchSlice, Images, Want
from holdfast.server.core.scheduling.callers import caller_key
from holdfast.server.core.snapshot import ModelSnapshot

FEW_PARTS = 8
"""A caller has few images as long as they fit into a short batch, or into this part of a whole one."""

SHARED_CUTS = 32
"""Batches that stay short after callers with few images were seen beside others with many: a second or so."""

MOST_REMEMBERED = 4096
"""Callers without images whose mark is kept, so that one who asks a little at a time gets no more than one who asks at once."""


def equal_weight(key: str) -> float:
    """Every caller is worth as much as another."""
    del key
    return 1.0


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

    @property
    def left(self) -> int:
        """Images that are in no batch yet."""
        return len(self.images) - self.cut


@dataclass(slots=True, eq=False)
class Piece:
    """The images [start, start + count) of one call, which share a batch."""

    call: Call
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Room:
    """What a batch may hold.

    Attributes:
        images: at most.
        shared: images at most of callers who have many, while others have few: these wait for the whole batch.
        ready: when the batch can be answered at the earliest, on time.monotonic()'s clock: later than the deadline of a call
            is too late for it.

    """

    images: int
    shared: int
    ready: float = 0.0


@dataclass(slots=True, eq=False)
class Cut:
    """What was taken out of the queue: pieces for one batch and the model that answers them.

    `late` calls could not be answered before their deadline, and nobody waits for those that are `gone`.
    """

    model: ModelSnapshot
    pieces: list[Piece] = field(default_factory=list)
    late: list[Call] = field(default_factory=list)
    gone: list[Call] = field(default_factory=list)
    images: int = 0
    begun: Call | None = None  # that is alone, for it has begun with another model


@dataclass(slots=True, eq=False)
class _Flow:
    """The calls of one caller, in their order, its mark, and whether it has more images than its part of a batch."""

    key: str
    mark: float
    has_many: bool = False
    calls: deque[Call] = field(default_factory=deque)
    images: int = 0


class RequestQueue:
    """Calls that wait, by their callers. Whoever uses it from several threads holds a lock of their own.

    Args:
        weight: of a caller, by its key: one of weight 2 gets twice the images of one of weight 1.

    Attributes:
        images: of all calls, those that are in no batch yet.
        since: when the oldest of these came; 0 where some were left over by the last batch.

    """

    def __init__(self, weight: Callable[[str], float] = equal_weight) -> None:
        self._weight = weight
        self._flows: dict[str, _Flow] = {}
        self._marks: dict[str, float] = {}  # of callers without images
        self._lowest = 0.0
        self._few_were_apart = False
        self._shared_cuts = 0  # that are still to be kept short
        self.images, self.since = 0, 0.0

    @property
    def callers(self) -> int:
        """Callers with images."""
        return len(self._flows)

    @property
    def left_over(self) -> bool:
        """Whether some images have seen a batch go without them."""
        return self.images > 0 and self.since == 0.0

    @property
    def remembered(self) -> int:
        """Callers without images of which something is kept."""
        return len(self._marks)

    def append(self, call: Call) -> None:
        """Add a call of at least one image."""
        key = caller_key(call.caller)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(key, max(self._lowest, self._marks.pop(key, 0.0)))
        if not self.images:
            self.since = call.enqueued
        flow.calls.append(call)
        flow.images += len(call.images)
        self.images += len(call.images)

    def remove(self, call: Call) -> int:
        """Take a call out that nobody waits for. Returns how many of its images were in no batch yet."""
        flow = self._flows.get(caller_key(call.caller))
        if flow is None or not call.left or call not in flow.calls:
            return 0
        flow.calls.remove(call)
        self._count_out(flow, call.left)
        self._leave([flow])
        return call.left

    def cut(self, room: Room, current: ModelSnapshot) -> Cut:
        """Take out images for one batch, and the model that answers them.

        Where some have many images and others few, those of few whose turn it is have a batch to themselves, every second time
        at most, and the batches of the others are short for a while.

        The model is the current one, but where a call has begun with another: then the rest of that call is alone in its
        batch. Otherwise calls that each reach into the next batch would keep an old model in use for ever.
        """
        cut = Cut(current)
        flows = sorted(self._flows.values(), key=lambda flow: flow.mark)
        few_images = max(room.shared, room.images // FEW_PARTS)
        for flow in flows:
            flow.has_many = flow.images > few_images
        many_from = next((flow.mark for flow in flows if flow.has_many), 0.0)
        mixed = len({flow.has_many for flow in flows}) > 1
        self._shared_cuts = SHARED_CUTS if mixed else max(0, self._shared_cuts - 1)
        if (begun := _begun_with_another(flows, current)) is not None:
            cut.model, cut.begun = begun.calls[0].model or current, begun.calls[0]
            self._take(cut, begun, min(begun.calls[0].left, room.images), room.ready)
        else:
            few = [flow for flow in flows if not flow.has_many and flow.mark <= many_from]
            apart = mixed and bool(few) and not self._few_were_apart
            self._fill(cut, room, few if apart else flows)
            self._few_were_apart = apart and bool(cut.pieces)
        self._leave(flows)
        served = cut.images / (2 * len(flows))
        marks = [flow.mark for flow in self._flows.values()]
        # It never stands still, so that newcomers without end, who begin at it, keep nobody waiting for ever.
        self._lowest = max(self._lowest + served, min(marks)) if marks else max(flow.mark for flow in flows)
        self.since = 0.0
        return cut

    def _fill(self, cut: Cut, room: Room, flows: Sequence[_Flow]) -> None:
        """Take from these callers by their marks, until the batch is full or they have nothing left."""
        left_for_many = room.shared if self._shared_cuts else room.images
        part = left_for_many // len(flows) or 1
        waiting = [(flow.mark, number, flow) for number, flow in enumerate(flows)]
        heapify(waiting)
        while waiting and cut.images < room.images:
            _, number, flow = heappop(waiting)
            most = min(part, room.images - cut.images)
            if flow.has_many:
                most = min(most, left_for_many)
                left_for_many -= self._take(cut, flow, most, room.ready)
            else:
                self._take(cut, flow, most, room.ready)
            if flow.calls and most:
                heappush(waiting, (flow.mark, number, flow))

    def _take(self, cut: Cut, flow: _Flow, most: int, ready: float) -> int:
        """Take at most so many images of one caller, the oldest first. Returns how many."""
        taken = 0
        while flow.calls and taken < most:
            call = flow.calls[0]
            gone, late = call.future.done(), call.deadline < ready
            if gone or late:
                flow.calls.popleft()
                self._count_out(flow, call.left)
                (cut.gone if gone else cut.late).append(call)
                continue
            if cut.begun is not None and cut.begun is not call:
                break
            count, start = min(call.left, most - taken), call.cut
            call.cut += count
            taken += count
            self._count_out(flow, count)
            cut.pieces.append(Piece(call, start, count))
            if call.left:
                call.model = cut.model
            else:
                flow.calls.popleft()
        flow.mark += taken / self._weight(flow.key)
        cut.images += taken
        return taken

    def _count_out(self, flow: _Flow, images: int) -> None:
        flow.images -= images
        self.images -= images

    def _leave(self, flows: Sequence[_Flow]) -> None:
        """Forget callers who have no calls, but for marks that would still hold them back."""
        for flow in flows:
            if flow.calls:
                continue
            del self._flows[flow.key]
            if flow.mark > self._lowest:
                self._marks[flow.key] = flow.mark
                if len(self._marks) > MOST_REMEMBERED:
                    del self._marks[next(iter(self._marks))]
        if not self._flows:
            self._marks.clear()


def _begun_with_another(flows: Sequence[_Flow], current: ModelSnapshot) -> _Flow | None:
    """The first caller whose oldest call is in a batch of another model already."""
    for flow in flows:
        model = flow.calls[0].model
        if model is not None and model is not current:
            return flow
    return None


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
