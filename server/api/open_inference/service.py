"""The Open Inference Protocol over gRPC, as KServe and Triton speak it: messages to the core's requests and back."""

import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

import grpc.aio

from holdfast.errors import ImageError
from holdfast.protos.inference import inference_pb2 as pb
from holdfast.protos.inference.inference_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)
from holdfast.server.access.scopes import Needs, Requirement, Scope
from holdfast.server.api.api import Api, caller_of, deadline_of, release_when_done
from holdfast.server.api.authentication import require
from holdfast.server.api.open_inference import outputs
from holdfast.server.api.open_inference.tensors import IMAGES, PIXELS, sources_of
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.errors import InvalidRequestError, UnknownModelError
from holdfast.server.core.facade import Core
from holdfast.server.core.request import EMBEDDINGS, CallKind, Request, Want

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

    from holdfast.server.core.result import Answer

NAME = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

PLATFORM = "holdfast"

EXTENSIONS = ("classification", "model_configuration", "statistics")
"""Parts of Triton's protocol that go beyond the standard."""

_TYPES = {
    "BYTES": pb.TYPE_STRING,
    "BOOL": pb.TYPE_BOOL,
    "UINT8": pb.TYPE_UINT8,
    "INT64": pb.TYPE_INT64,
    "FP32": pb.TYPE_FP32,
}


class InferenceService(GRPCInferenceServiceServicer):
    """inference.GRPCInferenceService."""

    def __init__(self, core: Core) -> None:
        self._core, self._statistics = core, Statistics()

    async def ServerLive(  # noqa: N802 - gRPC's names
        self, request: pb.ServerLiveRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ServerLiveResponse:
        """It answers."""
        del request, context
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, request: pb.ServerReadyRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ServerReadyResponse:
        """As health says."""
        del request, context
        return pb.ServerReadyResponse(ready=self._core.is_serving())

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ModelReadyResponse:
        """As health says, of the model that is served."""
        del context
        return pb.ModelReadyResponse(ready=self._serves(request.name, request.version) and self._core.is_serving())

    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ServerMetadataResponse:
        """Name, version and extensions."""
        del request, context
        return pb.ServerMetadataResponse(name="holdfast", version=_version(), extensions=EXTENSIONS)

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ModelMetadataResponse:
        """Inputs and outputs."""
        del context
        model = self._model(request.name, request.version)
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[version_of(model)],
            platform=PLATFORM,
            inputs=[
                tensor(name=IMAGES, datatype="BYTES", shape=[-1]),
                tensor(name=PIXELS, datatype="UINT8", shape=[-1, -1, -1, -1]),
            ],
            outputs=[tensor(name=o.name, datatype=o.datatype, shape=[-1, *o.dims(model)]) for o in outputs.ALL],
        )

    async def ModelConfig(  # noqa: N802
        self, request: pb.ModelConfigRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ModelConfigResponse:
        """The same, as clients of Triton read it."""
        del context
        model = self._model(request.name, request.version)
        config = pb.ModelConfig(
            name=model.name,
            platform=PLATFORM,
            backend=PLATFORM,
            max_batch_size=self._core.settings.max_images,
            input=[
                pb.ModelInput(name=IMAGES, data_type=pb.TYPE_STRING, dims=[1], optional=True),
                pb.ModelInput(name=PIXELS, data_type=pb.TYPE_UINT8, dims=[-1, -1, -1], optional=True),
            ],
            # Triton's configurations have no tensor without a dimension.
            output=[pb.ModelOutput(name=o.name, data_type=_TYPES[o.datatype], dims=o.dims(model) or [1]) for o in outputs.ALL],
        )
        return pb.ModelConfigResponse(config=config)

    async def ModelStatistics(  # noqa: N802
        self, request: pb.ModelStatisticsRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ModelStatisticsResponse:
        """What this process has answered by this protocol."""
        del context
        model = self._model(request.name, request.version) if request.name else self._core.description
        return pb.ModelStatisticsResponse(model_stats=[self._statistics.message(model)])

    async def ModelInfer(  # noqa: N802
        self, request: pb.ModelInferRequest, context: "ServicerContext[Any, Any]"
    ) -> pb.ModelInferResponse:
        """Decode, answer, and write the outputs that are wanted."""
        began = time.perf_counter_ns()
        try:
            response = await self._infer(request, context)
        except BaseException:
            self._statistics.failed(time.perf_counter_ns() - began)
            raise
        self._statistics.answered(response.outputs[0].shape[0], time.perf_counter_ns() - began)
        return response

    async def _infer(self, request: pb.ModelInferRequest, context: "ServicerContext[Any, Any]") -> pb.ModelInferResponse:
        wanted = outputs.wanted_by(request, self._model(request.model_name, request.model_version))
        want = _want(wanted)
        sources = sources_of(request, self._core.settings.max_images)
        permit = self._core.admit(len(sources), deadline_of(context), caller_of(context))
        release_when_done(context, permit)
        demand = permit.demand
        result = await self._core.answer(Request(sources, want, demand.deadline, demand.caller), permit)
        answers: list[Answer] = [outcome for outcome in result.outcomes if not isinstance(outcome, ImageError)]
        if len(answers) < len(result.outcomes):
            bad = [outcome for outcome in result.outcomes if isinstance(outcome, ImageError)]
            raise InvalidRequestError([(error.field, error.reason) for error in bad])
        response = pb.ModelInferResponse(model_name=result.model.name, model_version=version_of(result.model), id=request.id)
        await outputs.write(response, result.model, answers, wanted)
        return response

    def _serves(self, name: str, version: str) -> bool:
        model = self._core.description
        return name == model.name and version in {"", version_of(model)}

    def _model(self, name: str, version: str) -> ModelDescription:
        """The model of that name. Raises UnknownModelError where it is not served, or in another version."""
        model = self._core.description
        if not self._serves(name, version):
            raise UnknownModelError(model.name, version_of(model))
        return model


class Statistics:
    """What one process has answered. Belongs to one event loop."""

    def __init__(self) -> None:
        self._last_ms = self._images = 0
        self._answered, self._failed = pb.StatisticDuration(), pb.StatisticDuration()

    def answered(self, images: int, ns: int) -> None:
        """One call was answered."""
        self._images += images
        self._add(self._answered, ns)

    def failed(self, ns: int) -> None:
        """One call was not."""
        self._add(self._failed, ns)

    def message(self, model: ModelDescription) -> pb.ModelStatistics:
        """All of it; there is one model."""
        return pb.ModelStatistics(
            name=model.name,
            version=version_of(model),
            last_inference=self._last_ms,
            inference_count=self._images,
            execution_count=self._answered.count,
            inference_stats=pb.InferStatistics(success=self._answered, fail=self._failed),
        )

    def _add(self, total: pb.StatisticDuration, ns: int) -> None:
        total.count += 1
        total.ns += ns
        self._last_ms = round(time.time() * 1000)


def version_of(model: ModelDescription) -> str:
    """The version of a model: that of its bundle, where it is known, else the number of the snapshot."""
    return model.bundle_version or str(model.version)


def _want(wanted: outputs.Wanted) -> Want:
    """What the core is asked for. Raises ForbiddenError where the caller may not have it."""
    if outputs.EMBEDDING in wanted.names:
        require(Scope.EMBED, f"the output {outputs.EMBEDDING}")
        return EMBEDDINGS
    require(Scope.CLASSIFY, "ModelInfer")
    if wanted.names.isdisjoint(output.name for output in outputs.NEIGHBOURS):
        return Want()
    require(Scope.EMBED, "an output of neighbours")
    return Want(CallKind.CLASSIFY, wanted.neighbours)


def _version() -> str:
    try:
        return metadata.version("holdfast")
    except metadata.PackageNotFoundError:
        return "unknown"


def _register(server: grpc.aio.Server, core: Core) -> None:
    add_GRPCInferenceServiceServicer_to_server(InferenceService(core), server)


SCOPES: dict[str, Requirement] = {
    "ServerLive": Needs.NOTHING,  # whoever probes a server bears no token
    "ServerReady": Needs.NOTHING,
    "ModelReady": Needs.NOTHING,
    "ServerMetadata": Needs.ANY_TOKEN,
    "ModelMetadata": Needs.ANY_TOKEN,
    "ModelConfig": Needs.ANY_TOKEN,
    "ModelStatistics": Needs.ANY_TOKEN,
    "ModelInfer": Needs.ANY_TOKEN,  # and Scope.CLASSIFY or Scope.EMBED, by the outputs that it names
}

API = Api(NAME, _register, SCOPES)
