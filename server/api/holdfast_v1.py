"""holdfast.v1 over gRPC: messages to the core's requests and back, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import grpc.aio

from holdfast.errors import ImageError
from holdfast.protos.holdfast.v1 import holdfast_pb2
from holdfast.protos.holdfast.v1.holdfast_pb2_grpc import HoldfastServiceServicer, add_HoldfastServiceServicer_to_server
from holdfast.server.access.scopes import Needs, Requirement, Scope
from holdfast.server.api.api import Api, caller_of, deadline_of, release_when_done
from holdfast.server.api.authentication import require
from holdfast.server.api.holdfast_v1_messages import model_info, sources_of
from holdfast.server.api.receiving import until
from holdfast.server.api.replies.holdfast_v1 import ReplyBuilder, ReplyForm, classify_bytes, embed_bytes
from holdfast.server.api.status import to_status
from holdfast.server.core.errors import DrainingError, RequestError
from holdfast.server.core.facade import Core
from holdfast.server.core.request import EMBEDDINGS, LABELS, CallKind, NoiseDraws, Request, Want
from holdfast.server.core.result import Result
from holdfast.server.core.scheduling.admission import Permit

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

ClassifyMessage = holdfast_pb2.ClassifyRequest | holdfast_pb2.ClassifyStreamRequest

NAME = holdfast_pb2.DESCRIPTOR.services_by_name["HoldfastService"].full_name


class HoldfastService(HoldfastServiceServicer):
    """holdfast.v1.HoldfastService. Its long replies are serialised already, which the interceptors let pass."""

    def __init__(self, core: Core) -> None:
        self._core, self._replies = core, ReplyBuilder(core.turns)

    async def Classify(  # type: ignore[override]  # noqa: N802 - serialised; gRPC's names
        self, request: holdfast_pb2.ClassifyRequest, context: "ServicerContext[Any, Any]"
    ) -> bytes:
        """One image or many: a ClassifyResponse."""
        form = self._form(request)
        permit = self._admit(request, form, context)
        release_when_done(context, permit)
        result = await self._classify(request, permit)
        _raise_what_is_wrong_with_one_image(result)
        return await self._replies.classify(result, form, permit.demand.caller)

    async def ClassifyStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[holdfast_pb2.ClassifyStreamRequest],
        context: "ServicerContext[Any, Any]",
    ) -> None:
        """Requests as they come, replies as they are ready; ends early, with UNAVAILABLE, when the server drains."""
        drain, window = self._core.drain, asyncio.Semaphore(self._core.settings.stream_window)
        writing = asyncio.Lock()

        async def reply(request: holdfast_pb2.ClassifyStreamRequest) -> None:
            try:
                with ExitStack() as admitted:
                    response = await self._stream_response(request, context, admitted)
                    async with writing:  # gRPC writes one message at a time
                        await context.write(response)
            finally:
                window.release()

        async with asyncio.TaskGroup() as replies:
            async for request in until(drain.begun, request_iterator):
                await window.acquire()
                replies.create_task(reply(request))
        if drain.begun.is_set():
            raise DrainingError

    async def Embed(  # type: ignore[override]  # noqa: N802
        self, request: holdfast_pb2.EmbedRequest, context: "ServicerContext[Any, Any]"
    ) -> bytes:
        """Embeddings alone: an EmbedResponse."""
        images, size = len(request.images), embed_bytes(self._core.description, len(request.images))
        permit = self._core.admit(images, deadline_of(context), caller_of(context), reply_bytes=size)
        release_when_done(context, permit)
        demand = permit.demand
        call = Request(sources_of(request.images), EMBEDDINGS, demand.deadline, demand.caller)
        result = await self._core.answer(call, permit)
        _raise_what_is_wrong_with_one_image(result)
        return await self._replies.embed(result, demand.caller)

    async def GetModelInfo(  # noqa: N802
        self, request: holdfast_pb2.GetModelInfoRequest, context: "ServicerContext[Any, Any]"
    ) -> holdfast_pb2.GetModelInfoResponse:
        """What is served."""
        del request, context
        return model_info(self._core.description, self._core.settings)

    def _admit(self, request: ClassifyMessage, form: ReplyForm, context: "ServicerContext[Any, Any]") -> Permit:
        """Room for one call, as little as it says of itself without being looked into."""
        images = len(request.images)
        if (certify := _draws_of(request)) is not None:
            self._core.check_certify(images, certify)
        size = classify_bytes(self._core.description, images, form)
        return self._core.admit(images, deadline_of(context), caller_of(context), reply_bytes=size)

    def _form(self, request: ClassifyMessage) -> ReplyForm:
        sources = self._core.settings.reveal_sources
        packed, smoothing = request.packed_neighbours, request.certify > 0
        return ReplyForm(request.neighbours, packed, sources, request.certificates, smoothing)

    async def _classify(self, request: ClassifyMessage, permit: Permit) -> Result:
        want, demand = LABELS, permit.demand
        if request.neighbours:
            require(Scope.EMBED, "neighbours")
        if request.certificates:
            require(Scope.EMBED, "certificates")
        if request.neighbours or request.certificates:
            sources = self._core.settings.reveal_sources and request.neighbours > 0
            want = Want(CallKind.CLASSIFY, request.neighbours, sources, request.certificates)
        images, certify = sources_of(request.images), _draws_of(request)
        return await self._core.answer(Request(images, want, demand.deadline, demand.caller, certify), permit)

    async def _stream_response(
        self, request: holdfast_pb2.ClassifyStreamRequest, context: "ServicerContext[Any, Any]", admitted: ExitStack
    ) -> bytes:
        """The reply to one message; whatever befalls it is in its reply, and the stream goes on."""
        form = self._form(request)
        try:
            permit = self._admit(request, form, context)
            admitted.enter_context(permit)
            result = await self._classify(request, permit)
        except Exception as error:  # noqa: BLE001 - the table sorts them, and logs what is not in it
            return holdfast_pb2.ClassifyStreamResponse(sequence=request.sequence, error=to_status(error)).SerializeToString()
        return await self._replies.classify_stream(request.sequence, result, form, permit.demand.caller)


def _draws_of(request: ClassifyMessage) -> NoiseDraws | None:
    """The noise that a call asks for. Raises RequestError for its size alone."""
    if request.certify:
        return NoiseDraws(request.certify, request.certify_sigma)
    if request.certify_sigma:
        raise RequestError("certify_sigma", "is for certify alone, which asks for no draws")
    return None


def _raise_what_is_wrong_with_one_image(result: Result) -> None:
    """A bad image fails a call of one image as a whole."""
    if len(result.outcomes) == 1 and isinstance(outcome := result.outcomes[0], ImageError):
        # Another error, which no variable of these frames holds: one that did would keep the call's message in a circle of
        # references, until the garbage collector finds it.
        raise ImageError(outcome.field, outcome.reason)


def _register(server: grpc.aio.Server, core: Core) -> None:
    add_HoldfastServiceServicer_to_server(HoldfastService(core), server)


SCOPES: dict[str, Requirement] = {
    "Classify": Scope.CLASSIFY,  # and Scope.EMBED, where it asks for neighbours or certificates
    "ClassifyStream": Scope.CLASSIFY,
    "Embed": Scope.EMBED,
    "GetModelInfo": Needs.ANY_TOKEN,
}

API = Api(NAME, _register, SCOPES)
