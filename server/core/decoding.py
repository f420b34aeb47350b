"""From what a caller sends to the encoder's input, without letting a costly image hold up the event loop.

The decoding itself is holdfast.model.images's, so that what was evaluated is what is served. Here is what only a server has to
think of: raw pixels that nobody has checked, what an image will cost, and where the work is done. Handing an image to another
process costs several times what decoding a small one does; decoding a costly one on the event loop holds up all other calls.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from holdfast.errors import ImageError
from holdfast.model.images import pixels
from holdfast.model.images.fitting import fit
from holdfast.model.images.pixels import MOST_SIDE, Header, Pixels
from holdfast.model.images.price import BASE, fit_price, machine_factor, price
from holdfast.model.preprocess import InputContract
from holdfast.model.speech import recordings
from holdfast.server.core.errors import QueueFullError, RequestError
from holdfast.server.core.request import RawImage, Recording, Source
from holdfast.server.core.speech.recordings import WRONG_KIND, decode_recording, read_recording
from holdfast.server.decode_settings import DecodeSettings
from holdfast.server.decoding.budget import BudgetLimits, DecodeBudget, NoRoomError
from holdfast.server.decoding.pool import DecoderPool, DecoderUnavailableError
from holdfast.server.decoding.process import DecoderConfig
from holdfast.server.decoding.turns import LoopTurns
from holdfast.server.decoding.wire import DecodeTask
from holdfast.server.metrics.decoding import DecodingMetrics

PASSING_S = 2e-3
"""Expected seconds of one call's images that are decoded in passing; the rest goes to the processes, many at a time."""

JOB_S = 10e-3
"""Expected seconds of cheap images that go to a process together."""

LOOK_S = 2e-3
"""Seconds of looking at headers before other calls get their turn."""

UNSURE = 2.0
"""By so much may a price be too high: only above so many times the limit is an image refused by its price alone."""

Outcomes = list[Pixels | ImageError]

_UNDER_WAY = ImageError("encoded", "is not decoded yet")
"""In the place of an image that a process decodes, until it has."""


class DecodePlan(NamedTuple):
    """An image as it was sent, looked at but not decoded.

    Attributes:
        source: as it was sent.
        seconds: what it will cost, as engine seconds are counted: expected seconds of this machine.
        header: of an encoded image.
        error: what is wrong with it, as far as its header tells; then it costs as good as nothing.
        windows: of a recording, each of which the model looks at.

    """

    source: Source
    seconds: float
    header: Header | None = None
    error: ImageError | None = None
    windows: int = 1


class Decoder:
    """Says what images will cost, and decodes them: cheap ones in passing, others in processes. Belongs to one event loop.

    Args:
        contract: the encoder's input contract.
        settings: limits, and how many processes.
        max_pixels: as `decode_image` takes it.
        metrics: of this process.
        turns: of the loop; None: its own.
        factor: how many times as long as where the figures of prices are of decoding takes here; None: to be measured.

    """

    def __init__(
        self,
        contract: InputContract,
        settings: DecodeSettings,
        max_pixels: int,
        metrics: DecodingMetrics,
        *,
        turns: LoopTurns | None = None,
        factor: float | None = None,
    ) -> None:
        self._settings, self._fitting, self._max_pixels, self._metrics = settings, contract.fitting, max_pixels, metrics
        self._kind = contract.kind
        self._factor, self._turns = factor or machine_factor(), turns or LoopTurns()
        limits = BudgetLimits(settings.decode_caller_queue, settings.decode_queue, settings.decode_queue_bytes)
        self._budget = DecodeBudget(limits, metrics)
        config = DecoderConfig(contract.fitting, max_pixels, settings.decode_memory)
        processes = settings.decode_processes
        self._pool = DecoderPool(config, processes, settings.decode_limit, metrics) if processes else None

    @property
    def backlog_seconds(self) -> float:
        """Expected seconds of decoding that wait for a process or are under way in one."""
        return self._budget.seconds

    def close(self) -> None:
        """End the processes at once."""
        if self._pool is not None:
            self._pool.close()

    def plan(self, source: Source) -> DecodePlan:
        """Look at an image's header: a few microseconds as a rule, a millisecond or two at most.

        Raises nothing: what is wrong with an image comes out where it is decoded.
        """
        try:
            if source is not None and isinstance(source, Recording) != (self._kind == "speech"):
                raise WRONG_KIND[self._kind]
            if isinstance(source, Recording):
                wav = read_recording(source.data, self._settings)
                return DecodePlan(source, self._factor * recordings.price(wav), windows=recordings.windows(wav))
            if isinstance(source, bytes):
                header = pixels.read_header(source)
                pixels.check_size(header, self._max_pixels)
                return DecodePlan(source, self._factor * price(source, header, self._fitting), header)
            if source is None:
                raise ImageError("source", "is not set; send encoded bytes, raw pixels or audio")  # noqa: TRY301
            height, width = raw_pixels(source, self._max_pixels).shape[:2]
            return DecodePlan(source, self._factor * (BASE / 8 + fit_price(width, height, self._fitting)))
        except ImageError as error:
            return DecodePlan(source, self._factor * BASE, error=error.with_traceback(None))

    def price(self, source: Source) -> float:
        """Expected seconds of this machine to decode an image, by its header alone."""
        return self.plan(source).seconds

    async def plans(self, sources: Sequence[Source], caller: str = "") -> list[DecodePlan]:
        """Look at the headers of a call's images; long ones do not hold up other calls, and callers take turns.

        Raises:
            RequestError: the images take too long together; it says so as soon as that is known.

        """
        planned, began, costly = [], time.perf_counter(), 0.0
        for source in sources:
            plan = self.plan(source)
            planned.append(plan)
            if self._pool is not None and PASSING_S < plan.seconds <= UNSURE * self._settings.decode_limit:
                costly += plan.seconds
                self._check_call(costly, len(sources))
            if (took := time.perf_counter() - began) > LOOK_S:
                await self._turns.take(caller, took)
                began = time.perf_counter()
        return planned

    async def decode(self, source: Source, caller: str = "") -> Pixels:
        """uint8 [H, W, 3] as the encoder takes it; of a recording [windows, H, W, 3].

        Raises:
            ImageError: `field` is "source", "encoded", "raw.shape", "raw.dtype", "raw.data" or "audio".
            QueueFullError, RequestError: as `decode_all`.

        """
        (outcome,) = await self.decode_all([self.plan(source)], caller)
        if isinstance(outcome, ImageError):
            raise ImageError(outcome.field, outcome.reason)  # not itself, which this frame holds
        return outcome

    async def decode_all(self, plans: Sequence[DecodePlan], caller: str) -> Outcomes:
        """The images of one call in their order, as `decode` gives them, or what is wrong with each.

        Cancelling it ends the decoding.

        Raises:
            QueueFullError: too much decoding waits, of this caller or of all.
            RequestError: the call's images take too long together.

        """
        outcomes: Outcomes = []
        costly: list[int] = []
        left = PASSING_S
        for place, plan in enumerate(plans):
            if plan.error is not None:
                outcomes.append(plan.error)
            elif self._pool is None or (self._is_cheap(plan) and plan.seconds <= left):
                left -= plan.seconds
                if not self._turns.taken(plan.seconds):
                    await self._turns.take(caller, plan.seconds)
                outcomes.append(self.decode_here(plan))
            elif plan.seconds > UNSURE * self._settings.decode_limit:
                outcomes.append(self._refuse(plan))
            else:
                costly.append(place)
                outcomes.append(_UNDER_WAY)
        if costly:
            decoded = await self._decode_there([plans[place] for place in costly], caller)
            for place, outcome in zip(costly, decoded, strict=True):
                outcomes[place] = outcome
        return outcomes

    def decode_here(self, plan: DecodePlan) -> Pixels | ImageError:
        """Decode on the calling thread, now."""
        try:
            if plan.error is not None:
                return plan.error
            if isinstance(plan.source, Recording):
                return decode_recording(plan.source.data)
            if isinstance(plan.source, bytes) and plan.header is not None:
                decoded = pixels.decode(plan.source, plan.header, self._fitting.whole, self._max_pixels)
                return fit(decoded, self._fitting)
            assert isinstance(plan.source, RawImage)  # noqa: S101 - all else has an error
            return fit(raw_pixels(plan.source, self._max_pixels), self._fitting)
        except ImageError as error:
            return error.with_traceback(None)

    def _is_cheap(self, plan: DecodePlan) -> bool:
        if isinstance(plan.source, RawImage):  # no codec sees it
            return plan.seconds <= PASSING_S
        return plan.seconds <= self._settings.decode_inline

    def _refuse(self, plan: DecodePlan) -> ImageError:
        self._metrics.refused("image", 1)
        limit = self._settings.decode_limit
        return ImageError(_task(plan).field, f"is expected to take {plan.seconds:.1f} s to decode; the limit is {limit:g} s")

    def _check_call(self, seconds: float, images: int) -> None:
        most = self._settings.decode_call_limit
        if seconds > most:
            self._metrics.refused("call", images)
            raise RequestError("images", f"are expected to take more than {most:g} s to decode together")

    async def _decode_there(self, plans: Sequence[DecodePlan], caller: str) -> Outcomes:
        """Decode in the processes."""
        assert self._pool is not None  # noqa: S101 - without it nothing is costly
        seconds = sum(plan.seconds for plan in plans)
        self._check_call(seconds, len(plans))
        size = sum(len(_bytes_of(plan.source)) for plan in plans)
        try:
            with self._budget.hold(caller, len(plans), seconds, size):
                jobs = [_submit(self._pool, job, caller) for job in _jobs(plans)]
                try:
                    return [outcome for outcomes in await asyncio.gather(*jobs) for outcome in outcomes]
                finally:
                    for job in jobs:
                        job.cancel()
        except NoRoomError as error:
            raise QueueFullError(error.retry_after) from None
        except DecoderUnavailableError:
            raise QueueFullError(1.0) from None


def _submit(pool: DecoderPool, job: Sequence[DecodePlan], caller: str) -> "asyncio.Future[Outcomes]":
    return pool.submit([_task(plan) for plan in job], caller, sum(plan.seconds for plan in job))


def _jobs(plans: Sequence[DecodePlan]) -> Iterator[list[DecodePlan]]:
    """Images that go to a process together: cheap ones many at a time, so that the way there costs little."""
    job: list[DecodePlan] = []
    seconds = 0.0
    for plan in plans:
        if job and seconds + plan.seconds > JOB_S:
            yield job
            job, seconds = [], 0.0
        job.append(plan)
        seconds += plan.seconds
    yield job


def _bytes_of(source: Source) -> bytes:
    return source.data if isinstance(source, RawImage | Recording) else source or b""


def _task(plan: DecodePlan) -> DecodeTask:
    shape = plan.source.shape if isinstance(plan.source, RawImage) else ()
    return DecodeTask(_bytes_of(plan.source), shape, isinstance(plan.source, Recording))


def raw_pixels(raw: RawImage, max_pixels: int) -> Pixels:
    """Check raw pixels as a caller sent them. Returns uint8 [h, w], [h, w, 1] or [h, w, 3], a view of the bytes.

    Raises:
        ImageError: dtype, shape and length of the data, in this order.

    """
    if raw.dtype != "uint8":
        raise ImageError("raw.dtype", f"is {raw.dtype}; only DATA_TYPE_UINT8 is taken")
    shape = raw.shape
    if len(shape) not in {2, 3} or min(shape) < 1 or (len(shape) == 3 and shape[2] not in {1, 3}):
        raise ImageError("raw.shape", f"is {list(shape)}; send [h, w], [h, w, 1] or [h, w, 3] with sides of 1 or more")
    if shape[0] * shape[1] > max_pixels:
        raise ImageError("raw.shape", f"has {shape[0]}x{shape[1]} pixels; the limit is {max_pixels} in all")
    if max(shape) > MOST_SIDE:
        raise ImageError("raw.shape", f"has {shape[0]}x{shape[1]} pixels; the limit of a side is {MOST_SIDE}")
    expected = shape[0] * shape[1] * (shape[2] if len(shape) == 3 else 1)
    if len(raw.data) != expected:
        raise ImageError("raw.data", f"has {len(raw.data)} bytes; a shape of {list(shape)} needs {expected}")
    return np.frombuffer(raw.data, dtype=np.uint8).reshape(shape)
