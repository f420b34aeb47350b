"""What the rest of the server asks of whoever runs the model, here or in another process."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

from holdfast.model.preprocess import Pixels
from holdfast.server.core.result import Batch

B = TypeVar("B")

NO_DEADLINE = float("inf")

Images = Sequence[Pixels] | Pixels
"""The images of one call, of one shape: uint8 [H, W, C] each, or all of them as uint8 [N, H, W, C]."""


class Kind(IntEnum):
    """What a call is for."""

    CLASSIFY = 0
    EMBED = 1
    CANARY = 2


class Wanted(NamedTuple):
    """What has to be in a call's answers beside labels and figures.

    Attributes:
        kind: EMBED wants the embeddings.
        neighbours: how many of each image's neighbours; more than the k of the vote is read as k.

    """

    kind: Kind = Kind.CLASSIFY
    neighbours: int = 0


LABELS = Wanted()
CANARY = Wanted(Kind.CANARY)


@dataclass(slots=True, eq=False)
class BatchSlice(Generic[B]):
    """The part of a batch's results that is one call's: [start, stop). Not frozen: that would double its price."""

    batch: B
    start: int
    stop: int


class InferenceBackend(Protocol):
    """Answers batches of images. All of it belongs to one event loop, but for `idle`, which any thread may ask."""

    last_success: float
    """time.monotonic() of the latest images that were answered: proof of life."""

    def alive(self) -> bool:
        """Whether it can still answer at all."""

    def idle(self) -> bool:
        """Whether nobody waits for anything."""

    def admit(self, images: int, deadline: float = NO_DEADLINE) -> AbstractContextManager[None]:
        """Hold room for a call's images, from before they are decoded until they are answered.

        Raises:
            DeadlineError: time.monotonic() has passed `deadline`.
            QueueFullError: no room; says when to try again.

        """

    async def submit(self, images: Images, deadline: float = NO_DEADLINE, wanted: Wanted = LABELS) -> list[BatchSlice[Batch]]:
        """The answers to admitted images, in their order.

        Raises:
            DeadlineError: the deadline passed while they waited.
            EngineError: the model failed on a batch of theirs.
            QueueFullError, DrainingError: whoever runs the model is another process, and had no room or was going down.

        """
