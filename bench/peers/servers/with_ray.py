"""Ray Serve: one replica with its own batching, over HTTP and over gRPC (the messages of holdfast.v1)."""

import signal
from typing import Any

import ray
from ray import serve as ray_serve
from starlette.requests import Request
from starlette.responses import Response

from bench.peers.servers.json_answers import as_json
from bench.peers.servers.served import PeerModel, PeerOptions
from bench.peers.servers.with_grpcio import result_of
from holdfast.errors import ImageError
from holdfast.model.preprocess import Pixels
from holdfast.protos.holdfast.v1 import holdfast_pb2

_options = PeerOptions.exported()


@ray_serve.deployment(num_replicas=1, max_ongoing_requests=4 * _options.batch, ray_actor_options={"num_cpus": 1})
class RayDeployment:
    """Both protocols end in the same batches."""

    def __init__(self) -> None:
        self._model = PeerModel(PeerOptions.exported())

    @ray_serve.batch(max_batch_size=_options.batch, batch_wait_timeout_s=_options.wait)
    async def _batch(self, images: list[Pixels]) -> list[dict[str, Any]]:
        return self._model.classify(images)

    async def __call__(self, request: Request) -> Response:
        """Over HTTP: the bytes of a file."""
        try:
            image = self._model.decode(await request.body())
        except ImageError as error:
            return Response(str(error), 400)
        return Response(as_json(await self._batch(image)), media_type="application/json")

    async def Classify(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        """Over gRPC: a call of one encoded image."""
        answer = await self._batch(self._model.decode(request.images[0].encoded))
        return holdfast_pb2.ClassifyResponse(results=[result_of(answer)])


def serve(options: PeerOptions) -> None:
    """Serves until the process is ended."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    ray_serve.start(
        http_options={"host": "127.0.0.1", "port": options.port, "request_timeout_s": options.deadline},
        grpc_options={
            "port": options.port + 1,
            "grpc_servicer_functions": ["holdfast.protos.holdfast.v1.holdfast_pb2_grpc.add_HoldfastServiceServicer_to_server"],
            "request_timeout_s": options.deadline,
        },
    )
    deployment: Any = RayDeployment  # what the decorator has made of the class
    ray_serve.run(deployment.bind(), route_prefix="/classify")
    signal.pause()
