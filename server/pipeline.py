"""The story of one request: decode, embed, search, vote, judge, and offer it to the prober."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from bundle.classifier import Answers, Classifier
from bundle.errors import ImageError
from bundle.preprocess import Pixels
from server.batching import NO_DEADLINE, Batcher
from server.decoding import Decoder, Source
from server.errors import RequestError, image_error_at
from server.metrics import Metrics
from server.probes import Prober

BREATH = 16
"""Images of one call decoded in a row before other calls get their turn."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One exemplar that voted: its id and class, and its cosine similarity to the image."""

    id: int
    label: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server holds one image to be; the fields are those of bundle.classifier.Answers, as plain numbers."""

    label: int
    probabilities: list[float]
    credibility: float
    confidence: float
    abstain: bool
    soft_margin: float
    kth_distance: float
    batch: Answers
    row: int

    @property
    def embedding(self) -> NDArray[np.float32]:
        """float32 [D], L2-normalised."""
        embedding: NDArray[np.float32] = self.batch.embeddings[self.row]
        return embedding

    def neighbours(self, count: int) -> list[Neighbour]:
        """The nearest exemplars, at most `count` and at most the k of the vote, nearest first."""
        found = self.batch.neighbours
        columns = (found.ids, self.batch.neighbour_labels, found.similarities)
        return [Neighbour(*row) for row in zip(*(c[self.row, :count].tolist() for c in columns), strict=True)]


def per_image(answers: Answers) -> list[Answer]:
    """A batch's answers one by one: whole columns become lists at once, which is what makes it cheap."""
    columns = (
        answers.labels,
        answers.probabilities,
        answers.credibility,
        answers.confidence,
        answers.abstain,
        answers.soft_margin,
        answers.kth_distance,
    )
    lists = [column.tolist() for column in columns]
    count = len(answers.labels)
    return list(map(Answer, *lists, repeat(answers, count), range(count)))


class Engine:
    """What the engine thread runs on each batch."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def __call__(self, images: Pixels) -> list[Answer]:
        """Embed, search, vote, judge. Shape: uint8 [N, H, W, C] -> N answers."""
        return per_image(self._classifier.classify(images))


class Pipeline:
    """Answers calls of one image or many."""

    def __init__(
        self, decoder: Decoder, batcher: Batcher[Answer], metrics: Metrics, prober: Prober | None, max_images: int
    ) -> None:
        self._decoder, self._batcher = decoder, batcher
        self._metrics, self._prober, self._max_images = metrics, prober, max_images

    async def classify(self, sources: Sequence[Source], deadline: float = NO_DEADLINE) -> list[Answer | ImageError]:
        """One answer per image, or what is wrong with that image.

        Args:
            sources: at least one image, at most `max_images`.
            deadline: on time.monotonic()'s clock.

        Raises:
            RequestError, QueueFullError, DeadlineError, EngineError: the call as a whole fails.

        """
        images, outcomes = await self._answer(sources, deadline)
        for image, outcome in zip(images, outcomes, strict=True):
            if isinstance(outcome, Answer) and image is not None:
                self._metrics.answered(outcome.soft_margin, outcome.kth_distance, outcome.credibility, outcome.abstain)
                if self._prober is not None:
                    self._prober.offer(image, outcome.label, outcome.soft_margin)
        return outcomes

    async def embed(self, sources: Sequence[Source], deadline: float = NO_DEADLINE) -> list[NDArray[np.float32] | ImageError]:
        """One embedding per image, float32 [D], or what is wrong with that image. Arguments and errors as `classify`."""
        _, outcomes = await self._answer(sources, deadline)
        return [outcome.embedding if isinstance(outcome, Answer) else outcome for outcome in outcomes]

    async def _answer(
        self, sources: Sequence[Source], deadline: float
    ) -> tuple[list[Pixels | None], list[Answer | ImageError]]:
        if not 1 <= len(sources) <= self._max_images:
            raise RequestError("images", f"has {len(sources)} images; send 1 to {self._max_images}")
        with self._batcher.admit(len(sources), deadline):
            decoded = [await self._decode(position, source) for position, source in enumerate(sources)]
            good = [image for image in decoded if not isinstance(image, ImageError)]
            answers = iter(await self._batcher.submit(good, deadline))
        images = [None if isinstance(image, ImageError) else image for image in decoded]
        return images, [image if isinstance(image, ImageError) else next(answers) for image in decoded]

    async def _decode(self, position: int, source: Source) -> Pixels | ImageError:
        if position % BREATH == BREATH - 1:
            await asyncio.sleep(0)
        try:
            return await self._decoder.decode(source)
        except ImageError as error:
            self._metrics.image_rejected(error.field)
            return image_error_at(position, error)
