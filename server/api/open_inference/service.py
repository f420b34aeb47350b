"""The Open Inference Protocol over gRPC: inference.GRPCInferenceService, as KServe and Triton speak it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio

from holdfast.protos.inference import service_pb2 as pb
from holdfast.protos.inference.model_config_pb2 import ModelConfig
from holdfast.protos.inference.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)
from holdfast.server.access.scopes import Needs, Requirement
from holdfast.server.api.api import Api, caller_of, deadline_of, release_when_done
from holdfast.server.api.open_inference.grpc_messages import in_stream, read_request, uses_raw, write_reply
from holdfast.server.api.open_inference.inference import OpenInference
from holdfast.server.api.open_inference.model import server_metadata
from holdfast.server.api.receiving import until
from holdfast.server.api.status import to_status
from holdfast.server.core.errors import DrainingError
from holdfast.server.core.facade import Core
from holdfast.server.core.scheduling.admission import Permit

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

NAME = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


@dataclass(frozen=True, slots=True)
class _Answering:
    """A request of a stream on its way to its reply, and the room that it holds until that is written."""

    admitted: ExitStack
    response: asyncio.Task[bytes]


class GRPCInferenceService(GRPCInferenceServiceServicer):
    """inference.GRPCInferenceService."""

    def __init__(self, core: Core) -> None:
        self._core, self._protocol = core, OpenInference(core)

    async def ServerLive(  # noqa: N802 - gRPC's names
        self, request: pb.ServerLiveRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ServerLiveResponse:
        """Whether the server answers at all."""
        del request, context
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, request: pb.ServerReadyRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ServerReadyResponse:
        """Whether it answers images."""
        del request, context
        return pb.ServerReadyResponse(ready=self._protocol.is_ready())

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ModelReadyResponse:
        """Whether it does so by this model."""
        del context
        return pb.ModelReadyResponse(ready=self._protocol.is_ready(request.name, request.version))

    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ServerMetadataResponse:
        """What the server is."""
        del request, context
        return pb.ServerMetadataResponse(**server_metadata())

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ModelMetadataResponse:
        """What the model takes and gives."""
        del context
        return pb.ModelMetadataResponse(**self._protocol.metadata(request.name, request.version))

    async def ModelConfig(  # noqa: N802
        self, request: pb.ModelConfigRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ModelConfigResponse:
        """The same for clients of Triton."""
        del context
        return pb.ModelConfigResponse(config=ModelConfig(**self._protocol.config(request.name, request.version)))

    async def ModelStatistics(  # noqa: N802
        self, request: pb.ModelStatisticsRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ModelStatisticsResponse:
        """What this process has done so far."""
        del context
        return pb.ModelStatisticsResponse(**self._protocol.statistics(request.name, request.version))

    async def RepositoryIndex(  # noqa: N802
        self, request: pb.RepositoryIndexRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.RepositoryIndexResponse:
        """Which models there are."""
        del context
        models = [pb.RepositoryIndexResponse.ModelIndex(**model) for model in self._protocol.index(ready=request.ready)]
        return pb.RepositoryIndexResponse(models=models)

    async def ModelInfer(  # type: ignore[override]  # noqa: N802 - serialised, which the interceptors let pass
        self, request: pb.ModelInferRequest, context: "ServicerContext[Any, Any]"
    ) -> bytes:
        """Answer images: a ModelInferResponse."""
        return await self._infer(request, context, lambda permit: release_when_done(context, permit))

    async def ModelStreamInfer(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: "ServicerContext[Any, Any]"
    ) -> None:
        """Requests as they come, a reply to each in their order; ends early, with UNAVAILABLE, when the server drains."""
        drain = self._core.drain
        replies: asyncio.Queue[_Answering | None] = asyncio.Queue(self._core.settings.stream_window)

        unwritten: set[ExitStack] = set()

        async def write() -> None:
            while (reply := await replies.get()) is not None:
                await context.write(await reply.response)
                reply.admitted.close()
                unwritten.discard(reply.admitted)

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(write())
                async for request in until(drain.begun, request_iterator):
                    unwritten.add(admitted := ExitStack())
                    response = tasks.create_task(self._stream_response(request, context, admitted))
                    await replies.put(_Answering(admitted, response))
                await replies.put(None)
        finally:  # whatever has ended the stream, nobody waits for these
            for admitted in unwritten:
                admitted.close()
        if drain.begun.is_set():
            raise DrainingError

    async def _stream_response(
        self, request: pb.ModelInferRequest, context: "ServicerContext[Any, Any]", admitted: ExitStack
    ) -> bytes:
        """The reply to one request; whatever befalls it is in its reply, and the stream goes on."""
        try:
            return in_stream(await self._infer(request, context, admitted.enter_context))
        except Exception as error:  # noqa: BLE001 - the table sorts them, and logs what is not in it
            nothing = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
            failed = pb.ModelStreamInferResponse(error_message=to_status(error).message, infer_response=nothing)
            return failed.SerializeToString()

    async def _infer(
        self, request: pb.ModelInferRequest, context: "ServicerContext[Any, Any]", hold: Callable[[Permit], object]
    ) -> bytes:
        caller = caller_of(context)
        reply = await self._protocol.infer(read_request(request), deadline_of(context), caller, hold)
        return await write_reply(reply, self._core.turns, caller, raw=uses_raw(request))


def _register(server: grpc.aio.Server, core: Core) -> None:
    add_GRPCInferenceServiceServicer_to_server(GRPCInferenceService(core), server)


SCOPES: dict[str, Requirement] = {
    "ServerLive": Needs.NOTHING,  # as health is
    "ServerReady": Needs.NOTHING,
    "ModelReady": Needs.NOTHING,
    "ServerMetadata": Needs.ANY_TOKEN,
    "ModelMetadata": Needs.ANY_TOKEN,
    "ModelConfig": Needs.ANY_TOKEN,
    "ModelStatistics": Needs.ANY_TOKEN,
    "RepositoryIndex": Needs.ANY_TOKEN,
    "ModelInfer": Needs.ANY_TOKEN,  # and Scope.CLASSIFY or Scope.EMBED, by its outputs
    "ModelStreamInfer": Needs.ANY_TOKEN,
}

API = Api(NAME, _register, SCOPES)
