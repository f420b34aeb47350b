"""Randomised smoothing of answers, on request: noise is drawn, answered like any other image, and counted.

Each draw is an image of the caller: it is admitted as one, takes its turn in the queue, and counts towards the caller's share
and rate. Where the server is busy the next draws wait, and the deadline ends it. No observer sees them: they are no traffic.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.model.judgement.smoothing import SmoothedAnswer, noisy_copies, smoothed_answer
from holdfast.model.preprocess import Pixels
from holdfast.server.core.errors import (
    CertifyLimitError,
    DeadlineError,
    ModelChangedError,
    QueueFullError,
    RequestError,
    UnavailableFeatureError,
)
from holdfast.server.core.request import NOISE, InferenceBackend, NoiseDraws, Request
from holdfast.server.core.scheduling.admission import Demand
from holdfast.server.core.scheduling.callers import CallerRates
from holdfast.server.metrics.answers.certify import CertifyMetrics
from holdfast.server.settings import Settings

FIRST_DRAWS = 32
"""Draws by which the class is guessed. A wrong guess costs the certificate, and makes none wrong."""

AT_ONCE, AT_ONCE_BYTES = 32, 4 * 2**20
"""Noisy copies that one image has under way, and their bytes, at most; one always."""

BURST_S = 4.0
"""Seconds of the server's rate that may be spent at once."""


class Certifier:
    """Smooths answers, within limits for a call, and for all callers of this process together. Belongs to one event loop.

    Args:
        settings: of the server.
        backend: answers the draws.
        metrics: counts them.
        generator: makes the source of a call's noise; by default one that nobody can foretell.

    """

    def __init__(
        self,
        settings: Settings,
        backend: InferenceBackend,
        metrics: CertifyMetrics,
        generator: Callable[[], np.random.Generator] = np.random.default_rng,
    ) -> None:
        self._backend, self._metrics, self._generator = backend, metrics, generator
        self._most = settings.certify_passes
        self._rates = CallerRates(settings.certify_rate, settings.certify_rate * BURST_S)

    def check(self, images: int, wanted: NoiseDraws) -> None:
        """Refuse what nobody may ask for, before anything of the call is looked at.

        Raises:
            UnavailableFeatureError: this server certifies nothing.
            RequestError: too many draws, or noise of a size that makes no sense.

        """
        if not self._most:
            raise UnavailableFeatureError("this server certifies no answers: start it with --certify-passes")
        passes = images * (FIRST_DRAWS + wanted.draws)
        if passes > self._most:
            raise RequestError(
                "certify",
                f"takes {passes:,} forward passes: {FIRST_DRAWS} and {wanted.draws} for each image; this server gives a call"
                f" {self._most:,}",
            )
        if not 0 < wanted.sigma <= 1:
            raise RequestError(
                "certify_sigma", f"is {wanted.sigma:g}: a deviation in pixels of [0, 1] is above 0 and at most 1"
            )

    async def certify(
        self, images: Sequence[Pixels], wanted: NoiseDraws, request: Request, version: int
    ) -> list[SmoothedAnswer]:
        """The smoothed classifier's answers to decoded images uint8 [H, W, C], one after the other.

        Args:
            images: of the call.
            wanted: how much noise.
            request: the call.
            version: of the model that has answered the images themselves.

        Raises:
            CertifyLimitError: all callers together have asked for more than this server gives.
            ModelChangedError: another model is served meanwhile.
            Others: as InferenceBackend.submit.

        """
        passes = len(images) * (FIRST_DRAWS + wanted.draws)
        if wait := self._rates.wait("", passes):
            self._metrics.refused.inc(len(images))
            raise CertifyLimitError(wait)
        self._rates.take("", passes)
        rng = self._generator()
        return [await self._certified(image, wanted, request, version, rng) for image in images]

    async def _certified(
        self, image: Pixels, wanted: NoiseDraws, request: Request, version: int, rng: np.random.Generator
    ) -> SmoothedAnswer:
        total, labels = FIRST_DRAWS + wanted.draws, list[NDArray[np.int64]]()
        at_once, drawn = max(1, min(AT_ONCE, AT_ONCE_BYTES // image.size)), 0
        while drawn < total:
            copies = await asyncio.to_thread(noisy_copies, image, min(at_once, total - drawn), wanted.sigma, rng)
            labels.append(await self._answered(copies, request, version))
            drawn += len(copies)
            self._metrics.draws.inc(len(copies))
        answers = np.concatenate(labels)
        smoothed = smoothed_answer(answers[:FIRST_DRAWS], answers[FIRST_DRAWS:], wanted.sigma)
        self._metrics.certified(abstains=smoothed.abstain)
        return smoothed

    async def _answered(self, copies: Pixels, request: Request, version: int) -> NDArray[np.int64]:
        """The labels of noisy copies; waits while the server has no room for them."""
        while True:
            try:
                with self._backend.admit(Demand(len(copies), request.deadline, request.caller)) as permit:
                    permit.decoded()
                    slices = await self._backend.submit(copies, request.deadline, NOISE, request.caller)
                    permit.answered()
                break
            except QueueFullError as refused:
                if len(copies) > 1:  # a small queue has room for fewer
                    half = len(copies) // 2
                    parts = [await self._answered(part, request, version) for part in (copies[:half], copies[half:])]
                    return np.concatenate(parts)
                if time.monotonic() + refused.retry_after >= request.deadline:
                    raise DeadlineError from None
                await asyncio.sleep(refused.retry_after)
        if any(part.batch.model.version != version for part in slices):
            raise ModelChangedError
        return np.concatenate([part.batch.answers.labels[part.start : part.stop] for part in slices])
