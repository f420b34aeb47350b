"""A call as the core sees it, and what the core needs of a backend that runs the model, here or in another process."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from holdfast.model.preprocess import Pixels
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.result import AnsweredBatch

if TYPE_CHECKING:
    from holdfast.server.core.scheduling.admission import Demand, Permit

NO_DEADLINE = float("inf")

Images = Sequence[Pixels] | Pixels
"""The decoded images of one call, of one shape: uint8 [H, W, C] each, or all of them as uint8 [N, H, W, C]."""


class RawImage(NamedTuple):
    """Pixels as a caller sent them, nothing checked yet."""

    data: bytes
    shape: tuple[int, ...]
    dtype: str


class Recording(NamedTuple):
    """A WAV file's bytes as a caller sent them, nothing checked yet."""

    data: bytes


Source = bytes | RawImage | Recording | None
"""What was sent: an encoded image's bytes, raw pixels, a recording, or None where the caller set none."""


class CallKind(IntEnum):
    """What a call is for. Observers see those that classify, and none that a server asks itself."""

    CLASSIFY = 0
    EMBED = 1
    CANARY = 2
    NOISE = 3


class Want(NamedTuple):
    """What has to be in a call's answers beside labels and figures.

    Attributes:
        kind: EMBED wants the embeddings.
        neighbours: how many of each image's neighbours; more than the k of the vote is read as k.
        sources: whether these neighbours are to name where their images came from.
        certificates: whether poison tolerance and feature shift are to be told.

    """

    kind: CallKind = CallKind.CLASSIFY
    neighbours: int = 0
    sources: bool = False
    certificates: bool = False


LABELS = Want()
EMBEDDINGS = Want(CallKind.EMBED)
CANARY = Want(CallKind.CANARY)
NOISE = Want(CallKind.NOISE)


class NoiseDraws(NamedTuple):
    """Noise by which answers are to be smoothed.

    Attributes:
        draws: fresh ones for each image, at least 1.
        sigma: standard deviation, in pixels of [0, 1].

    """

    draws: int
    sigma: float


class Request(NamedTuple):
    """One call, whichever API it came by.

    Attributes:
        images: as they were sent.
        want: what has to be in the answers.
        deadline: on time.monotonic()'s clock.
        caller: the name of the caller's token or certificate, else the address of the peer, without its port; "" where it is
            not known.
        certify: how answers are to be smoothed; None where they are not.

    """

    images: Sequence[Source]
    want: Want = LABELS
    deadline: float = NO_DEADLINE
    caller: str = ""
    certify: NoiseDraws | None = None


@dataclass(slots=True, eq=False)
class BatchSlice:
    """The part of a batch's results that is one call's: [start, stop). Not frozen: that would double its cost.

    The model took the batch at `began`, on time.monotonic()'s clock, which the processes of one machine share, and had it for
    `seconds`.
    """

    batch: AnsweredBatch
    start: int
    stop: int
    began: float = 0.0
    seconds: float = 0.0


class InferenceBackend(Protocol):
    """Answers batches of images. All of it belongs to one event loop, but for `idle`, which any thread may call."""

    last_success: float
    """time.monotonic() of the latest images that were answered: proof of life."""

    @property
    def description(self) -> ModelDescription:
        """The model that is served now, as far as this process knows."""

    def alive(self) -> bool:
        """Whether it can still answer at all."""

    def idle(self) -> bool:
        """Whether no image is under way."""

    def admit(self, demand: "Demand") -> "Permit":
        """Hold room for a call, from before its images are decoded until its reply is written.

        Raises:
            DeadlineError: time.monotonic() has passed its deadline.
            QueueFullError, NotInTimeError, CallerLimitError: refused; says when to try again.

        """

    async def submit(
        self, images: Images, deadline: float = NO_DEADLINE, want: Want = LABELS, caller: str = ""
    ) -> list[BatchSlice]:
        """The answers to admitted images, in their order, all of one model.

        Raises:
            DeadlineError: the deadline passed while they waited, or would have before they could be answered.
            EngineError: the model failed on a batch of theirs.
            QueueFullError, NotInTimeError, CallerLimitError, DrainingError: the model runs in another process, which refused
                them or was going down.

        """
