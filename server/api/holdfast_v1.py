"""The gRPC skin: messages to domain and back, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from math import isnan
from typing import TYPE_CHECKING, Any

from holdfast.errors import ImageError
from holdfast.protos.holdfast.v1 import answer_pb2, holdfast_pb2, image_pb2
from holdfast.protos.holdfast.v1.holdfast_pb2_grpc import HoldfastServiceServicer
from holdfast.server.core.decoding import RawImage, Source
from holdfast.server.core.drain import Drain
from holdfast.server.core.errors import DrainingError, to_status
from holdfast.server.core.pipeline import Pipeline
from holdfast.server.core.request import NO_DEADLINE
from holdfast.server.core.result import Answer

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

NAME = holdfast_pb2.DESCRIPTOR.services_by_name["HoldfastService"].full_name


class HoldfastService(HoldfastServiceServicer):
    """holdfast.v1.HoldfastService over one pipeline."""

    def __init__(self, pipeline: Pipeline, info: holdfast_pb2.GetModelInfoResponse, drain: Drain, stream_window: int) -> None:
        self._pipeline, self._info, self._drain, self._window = pipeline, info, drain, stream_window
        self._labels = [answer_pb2.Label(index=i, name=name) for i, name in enumerate(info.class_names)]

    async def Classify(  # noqa: N802 - gRPC's names
        self, request: holdfast_pb2.ClassifyRequest, context: "ServicerContext[Any, Any]"
    ) -> holdfast_pb2.ClassifyResponse:
        """One image or many."""
        outcomes = await self._pipeline.classify(sources_of(request.images), deadline_of(context), request.neighbours)
        if len(outcomes) == 1 and isinstance(outcomes[0], ImageError):
            raise outcomes[0]
        return holdfast_pb2.ClassifyResponse(results=self._results(outcomes, request.neighbours))

    async def ClassifyStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[holdfast_pb2.ClassifyStreamRequest],
        context: "ServicerContext[Any, Any]",
    ) -> None:
        """Requests as they come, replies as they are ready; ends early, with UNAVAILABLE, when the server drains."""
        window, writing = asyncio.Semaphore(self._window), asyncio.Lock()

        async def reply(request: holdfast_pb2.ClassifyStreamRequest) -> None:
            try:
                response = await self._stream_response(request, deadline_of(context))
                async with writing:  # gRPC writes one message at a time
                    await context.write(response)
            finally:
                window.release()

        async with asyncio.TaskGroup() as replies:
            async for request in _until(self._drain.begun, request_iterator):
                await window.acquire()
                replies.create_task(reply(request))
        if self._drain.begun.is_set():
            raise DrainingError

    async def Embed(  # noqa: N802
        self, request: holdfast_pb2.EmbedRequest, context: "ServicerContext[Any, Any]"
    ) -> holdfast_pb2.EmbedResponse:
        """Embeddings alone."""
        outcomes = await self._pipeline.embed(sources_of(request.images), deadline_of(context))
        if len(outcomes) == 1 and isinstance(outcomes[0], ImageError):
            raise outcomes[0]
        return holdfast_pb2.EmbedResponse(
            results=[
                answer_pb2.EmbedResult(error=to_status(outcome))
                if isinstance(outcome, ImageError)
                else answer_pb2.EmbedResult(embedding=answer_pb2.Embedding(values=outcome.tolist()))
                for outcome in outcomes
            ]
        )

    async def GetModelInfo(  # noqa: N802
        self, request: holdfast_pb2.GetModelInfoRequest, context: "ServicerContext[Any, Any]"
    ) -> holdfast_pb2.GetModelInfoResponse:
        """What is served."""
        del request, context
        return self._info

    async def _stream_response(
        self, request: holdfast_pb2.ClassifyStreamRequest, deadline: float
    ) -> holdfast_pb2.ClassifyStreamResponse:
        """The reply to one message; whatever befalls it is in its reply, and the stream goes on."""
        try:
            outcomes = await self._pipeline.classify(sources_of(request.images), deadline, request.neighbours)
        except Exception as error:  # noqa: BLE001 - the table sorts them, and logs what is not in it
            return holdfast_pb2.ClassifyStreamResponse(sequence=request.sequence, error=to_status(error))
        results = self._results(outcomes, request.neighbours)
        return holdfast_pb2.ClassifyStreamResponse(sequence=request.sequence, results=results)

    def _results(self, outcomes: Iterable[Answer | ImageError], neighbours: int) -> list[answer_pb2.ClassifyResult]:
        return [
            answer_pb2.ClassifyResult(error=to_status(outcome))
            if isinstance(outcome, ImageError)
            else answer_pb2.ClassifyResult(answer=self._classification(outcome, neighbours))
            for outcome in outcomes
        ]

    def _classification(self, answer: Answer, neighbours: int) -> answer_pb2.Classification:
        message = answer_pb2.Classification(
            label=self._labels[answer.label],
            probabilities=answer.probabilities,
            abstain=answer.abstain,
            soft_margin=answer.soft_margin,
            kth_neighbour_distance=answer.kth_distance,
        )
        if not isnan(answer.credibility):
            message.credibility, message.confidence = answer.credibility, answer.confidence
        if neighbours:
            message.neighbours.extend(
                answer_pb2.Neighbour(id=n.id, label=self._labels[n.label], similarity=n.similarity)
                for n in answer.neighbours(neighbours)
            )
        return message


def sources_of(images: Iterable[image_pb2.Image]) -> list[Source]:
    """Images of a request as the decoder takes them."""
    return [_source(image) for image in images]


def deadline_of(context: "ServicerContext[Any, Any]") -> float:
    """The caller's deadline on time.monotonic()'s clock."""
    left = context.time_remaining()
    return NO_DEADLINE if left is None else time.monotonic() + left


def _source(image: image_pb2.Image) -> Source:
    match image.WhichOneof("source"):
        case "encoded":
            return image.encoded
        case "raw":
            raw = image.raw
            known = raw.dtype == image_pb2.DATA_TYPE_UINT8
            return RawImage(raw.data, tuple(raw.shape), "uint8" if known else f"data type {raw.dtype}")
        case _:
            return None


async def _until(
    stop: asyncio.Event, requests: AsyncIterator[holdfast_pb2.ClassifyStreamRequest]
) -> AsyncIterator[holdfast_pb2.ClassifyStreamRequest]:
    """The requests, until there are no more or `stop` is set."""
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while True:
            arriving = asyncio.ensure_future(anext(requests, None))
            await asyncio.wait({arriving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not arriving.done():
                arriving.cancel()
                return
            request = arriving.result()
            if request is None:
                return
            yield request
    finally:
        stopping.cancel()
