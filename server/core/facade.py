"""What an API gets of the server: it sends requests here, and knows neither queue nor model nor process."""

from itertools import chain

from holdfast.errors import ImageError
from holdfast.model.preprocess import Pixels
from holdfast.server.core.admission import Drain
from holdfast.server.core.decoding import Decoder
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.errors import RequestError, image_error_at
from holdfast.server.core.request import InferenceBackend, Request
from holdfast.server.core.result import Result
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.settings import Settings


class Core:
    """Answers requests: decodes their images, and has the backend embed them, search and vote. Belongs to one event loop.

    Attributes:
        settings: of the server; what an operator has limited is there.
        drain: has it begun, then no new call is taken.

    """

    def __init__(self, settings: Settings, backend: InferenceBackend, metrics: Metrics) -> None:
        self.settings, self.drain = settings, Drain()
        self._backend, self._metrics = backend, metrics
        contract = backend.description.contract  # which no publish changes
        self._decoder = Decoder(contract, settings, settings.max_pixels, metrics.decoding)

    @property
    def description(self) -> ModelDescription:
        """The model that is served now. An answer's own model is in its Result."""
        return self._backend.description

    async def answer(self, request: Request) -> Result:
        """One answer per image, or what is wrong with that image; all answers are of one model.

        Raises:
            RequestError: no images, or more than settings.max_images.
            QueueFullError, DeadlineError, EngineError, DrainingError, EngineGoneError, EngineSilentError: the call as a whole
                fails.

        """
        count, most = len(request.images), self.settings.max_images
        if not 1 <= count <= most:
            raise RequestError("images", f"has {count} images; send 1 to {most}")
        with self._backend.admit(count, request.deadline):
            decoded = await self._decode(request)
            good = [image for image in decoded if not isinstance(image, ImageError)]
            slices = await self._backend.submit(good, request.deadline, request.want, request.caller)
        model = slices[0].batch.model if slices else self.description
        answers = chain.from_iterable([part.batch.one_by_one[part.start : part.stop] for part in slices])
        return Result(model, [image if isinstance(image, ImageError) else next(answers) for image in decoded])

    def close(self) -> None:
        """End the decoder's processes."""
        self._decoder.close()

    async def _decode(self, request: Request) -> list[Pixels | ImageError]:
        """The images of one call; each may be refused, and the others are not."""
        plans = await self._decoder.plans(request.images)
        decoded = await self._decoder.decode_all(plans, request.caller)
        for position, outcome in enumerate(decoded):
            if isinstance(outcome, ImageError):
                self._metrics.image_rejected(outcome.field)
                decoded[position] = image_error_at(position, outcome)
        return decoded
