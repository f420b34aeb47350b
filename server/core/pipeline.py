"""The story of one request: decode, embed, search, vote, judge, and offer it to the prober."""

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import ImageError
from holdfast.model.preprocess import Pixels
from holdfast.server.core.decoding import Decoder, Source
from holdfast.server.core.errors import RequestError, image_error_at
from holdfast.server.core.request import NO_DEADLINE, InferenceBackend, Kind, Wanted
from holdfast.server.core.result import Answer
from holdfast.server.monitor.metrics import Metrics

YIELD_EVERY = 16
"""Images of one call decoded in a row before other calls get their turn."""


class Offers(Protocol):
    """Who takes a look at answered images afterwards: the prober."""

    def offer(self, image: Pixels, label: int, soft_margin: float) -> None:
        """One image, uint8 [H, W, C], and what was answered. Never blocks, never raises."""


class Pipeline:
    """Answers calls of one image or many."""

    def __init__(
        self, decoder: Decoder, model: InferenceBackend, metrics: Metrics, prober: Offers | None, max_images: int
    ) -> None:
        self._decoder, self._model = decoder, model
        self._metrics, self._prober, self._max_images = metrics, prober, max_images

    async def classify(
        self, sources: Sequence[Source], deadline: float = NO_DEADLINE, neighbours: int = 0
    ) -> list[Answer | ImageError]:
        """One answer per image, or what is wrong with that image.

        Args:
            sources: at least one image, at most `max_images`.
            deadline: on time.monotonic()'s clock.
            neighbours: how many of each image's neighbours its answer must have; more than the k of the vote is read as k.

        Raises:
            RequestError, QueueFullError, DeadlineError, EngineError, DrainingError: the call as a whole fails.

        """
        images, outcomes = await self._answer(sources, deadline, Wanted(Kind.CLASSIFY, neighbours))
        for image, outcome in zip(images, outcomes, strict=True):
            if isinstance(outcome, Answer) and image is not None:
                self._metrics.answered(outcome.soft_margin, outcome.kth_distance, outcome.credibility, outcome.abstain)
                if self._prober is not None:
                    self._prober.offer(image, outcome.label, outcome.soft_margin)
        return outcomes

    async def embed(self, sources: Sequence[Source], deadline: float = NO_DEADLINE) -> list[NDArray[np.float32] | ImageError]:
        """One embedding per image, float32 [D], or what is wrong with that image. Arguments and errors as `classify`."""
        _, outcomes = await self._answer(sources, deadline, Wanted(Kind.EMBED))
        return [outcome.embedding if isinstance(outcome, Answer) else outcome for outcome in outcomes]

    async def _answer(
        self, sources: Sequence[Source], deadline: float, wanted: Wanted
    ) -> tuple[list[Pixels | None], list[Answer | ImageError]]:
        if not 1 <= len(sources) <= self._max_images:
            raise RequestError("images", f"has {len(sources)} images; send 1 to {self._max_images}")
        with self._model.admit(len(sources), deadline):
            decoded = [await self._decode(position, source) for position, source in enumerate(sources)]
            good = [image for image in decoded if not isinstance(image, ImageError)]
            shares = await self._model.submit(good, deadline, wanted)
        answers = chain.from_iterable([share.batch.one_by_one[share.start : share.stop] for share in shares])
        images = [None if isinstance(image, ImageError) else image for image in decoded]
        return images, [image if isinstance(image, ImageError) else next(answers) for image in decoded]

    async def _decode(self, position: int, source: Source) -> Pixels | ImageError:
        if position % YIELD_EVERY == YIELD_EVERY - 1:
            await asyncio.sleep(0)
        try:
            return await self._decoder.decode(source)
        except ImageError as error:
            self._metrics.image_rejected(error.field)
            return image_error_at(position, error)
