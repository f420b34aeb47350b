"""What an API gets of the server: it sends requests here, and knows neither queue nor model nor process."""

import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from holdfast.errors import ImageError
from holdfast.model.preprocess import Pixels
from holdfast.server.core.certifying.smoothing import Certifier
from holdfast.server.core.decoding import DecodePlan, Decoder
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.drain import Drain
from holdfast.server.core.errors import DeadlineError, RequestError, UnavailableFeatureError, image_error_at
from holdfast.server.core.request import NO_DEADLINE, InferenceBackend, NoiseDraws, Request
from holdfast.server.core.result import Answer, Result
from holdfast.server.core.scheduling.admission import Demand, Permit
from holdfast.server.core.scheduling.messages import MessageLimits, MessageReading
from holdfast.server.core.speech.recordings import voted_together
from holdfast.server.decoding.turns import LoopTurns
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.metrics.statistics import CallStatistics
from holdfast.server.settings import Settings
from holdfast.server.telemetry.calls import Stages, stages_of_call

if TYPE_CHECKING:
    from collections.abc import Callable


class Core:
    """Answers requests: decodes their images, and has the backend embed them, search and vote. Belongs to one event loop.

    Attributes:
        settings: of the server; what an operator has limited is there.
        drain: has it begun, then no new call is taken.
        turns: for what takes long on the event loop.
        messages: says when the next one of a caller is read, whichever transport it comes by.
        is_serving: whether health checks say so; set by who makes them.
        statistics: of the calls that were answered here.

    """

    def __init__(self, settings: Settings, backend: InferenceBackend, metrics: Metrics) -> None:
        self.settings, self.drain, self.statistics = settings, Drain(), CallStatistics()
        self._backend, self._metrics = backend, metrics
        self.turns = LoopTurns()
        self.messages = MessageReading(MessageLimits.of(settings), metrics.messages, self.turns)
        self.is_serving: Callable[[], bool] = lambda: not self.drain.begun.is_set() and backend.alive()
        contract = backend.description.contract  # which no publish changes
        self._certifier = Certifier(settings, backend, metrics.certify)
        self._decoder = Decoder(contract, settings, settings.max_pixels, metrics.decoding, turns=self.turns)

    @property
    def description(self) -> ModelDescription:
        """The model that is served now. An answer's own model is in its Result."""
        return self._backend.description

    def admit(self, images: int, deadline: float = NO_DEADLINE, caller: str = "", *, reply_bytes: int = 0) -> Permit:
        """Room for one call, before anything of it is looked at but the number of its images.

        Args:
            images: how many it has.
            deadline: on time.monotonic()'s clock.
            caller: as in Request.
            reply_bytes: of the reply, about.

        Returns what has to be released when the reply is written, or will not be.

        Raises:
            RequestError: no images, or more than settings.max_images.
            QueueFullError, NotInTimeError, CallerLimitError: refused; each says when to try again.
            DeadlineError: the deadline has passed.
            EngineSilentError: the engine does not answer now.

        """
        most = self.settings.max_images
        try:
            if not 1 <= images <= most:
                raise RequestError("images", f"has {images} images; send 1 to {most}")  # noqa: TRY301
            return self._backend.admit(Demand(images, deadline, caller, reply_bytes=reply_bytes))
        except Exception:
            self.statistics.failed(self.description, 0.0)
            raise

    def check_certify(self, images: int, wanted: NoiseDraws) -> None:
        """Refuse certificates that nobody may ask for. Raises as Certifier.check."""
        try:
            if self.description.contract.kind == "speech":
                raise UnavailableFeatureError("noise of pixels certifies nothing of recordings")  # noqa: TRY301
            self._certifier.check(images, wanted)
        except Exception:
            self.statistics.failed(self.description, 0.0)
            raise

    async def answer(self, request: Request, permit: Permit | None = None) -> Result:
        """One answer per image, or what is wrong with that image; all answers are of one model.

        Args:
            request: the call.
            permit: of `admit`, which whoever took it releases; without, the call is admitted here, until it is answered.

        Raises:
            DeadlineError, EngineError, DrainingError, EngineGoneError, EngineSilentError: the call as a whole fails.
            NotInTimeError: decoding would take too long.
            QueueFullError, NotInTimeError, CallerLimitError: the engine refuses it.
            RequestError: as `admit` does.
            CertifyLimitError, ModelChangedError: its answers could not be certified.

        """
        if permit is None:
            with self.admit(len(request.images), request.deadline, request.caller) as own:
                return await self.answer(request, own)
        try:
            return await self._answer(request, permit)
        except BaseException:  # a caller who leaves is one that was not answered
            self.statistics.failed(self.description, time.monotonic() - permit.admitted)
            raise

    def close(self) -> None:
        """End the decoder's processes."""
        self._decoder.close()

    async def _answer(self, request: Request, permit: Permit) -> Result:
        """Admit what a call turns out to have beside what it was admitted for: the further windows of recordings."""
        stages = stages_of_call(permit.admitted)
        plans = await self._decoder.plans(request.images, request.caller)
        permit.charge(sum([plan.seconds for plan in plans]))
        further = sum([plan.windows for plan in plans]) - len(plans)
        if not further:
            return await self._answer_planned(request, permit, plans, stages)
        if (windows := further + len(plans)) > (most := self.settings.queue_images):
            raise RequestError("images", f"have {windows} windows of recordings; this server takes {most} at once: send fewer")
        with self._backend.admit(Demand(further, request.deadline, request.caller)) as admitted:
            admitted.decoded()  # their decoding counts with the first windows
            return await self._answer_planned(request, permit, plans, stages)

    async def _answer_planned(self, request: Request, permit: Permit, plans: Sequence[DecodePlan], stages: Stages) -> Result:
        decoded = await self._decode(request, plans)
        stages.end("decode")
        good = [window for image in decoded if not isinstance(image, ImageError) for window in _windows(image)]
        permit.decoded()
        decoded_at = time.monotonic()
        slices = await self._backend.submit(good, request.deadline, request.want, request.caller)
        permit.answered()
        stages.end_inference(slices)
        model = slices[0].batch.model if slices else self.description
        self.statistics.succeeded(model, permit.admitted, decoded_at, slices)
        answers = chain.from_iterable([part.batch.between(part.start, part.stop) for part in slices])
        smoothed = await self._certifier.certify(good, request.certify, request, model.version) if request.certify else ()
        if all(isinstance(image, np.ndarray) and image.ndim == 3 for image in decoded):
            return Result(model, list(answers), smoothed)
        outcomes = [image if isinstance(image, ImageError) else _answer_to(model, image, answers) for image in decoded]
        return Result(model, outcomes, smoothed)

    async def _decode(self, request: Request, plans: Sequence[DecodePlan]) -> list[Pixels | ImageError]:
        """The images of one call; each may be refused, and the others are not.

        Raises:
            DeadlineError: it is too late by now.
            QueueFullError, RequestError: as the decoder does.

        """
        decoded = await self._decoder.decode_all(plans, request.caller)
        if request.deadline <= time.monotonic():
            raise DeadlineError
        for position, outcome in enumerate(decoded):
            if isinstance(outcome, ImageError):
                self._metrics.image_rejected(outcome.field)
                decoded[position] = image_error_at(position, outcome)
        return decoded


def _windows(image: Pixels) -> Sequence[Pixels] | Pixels:
    """What the model looks at: an image uint8 [H, W, 3], or the windows of a recording [W, H, W, 3]."""
    return (image,) if image.ndim == 3 else image


def _answer_to(model: ModelDescription, image: Pixels, answers: Iterator[Answer]) -> Answer:
    """The next answer, or what the next ones come to together, as many as the recording has windows."""
    return next(answers) if image.ndim == 3 else voted_together(model, list(islice(answers, len(image))))
