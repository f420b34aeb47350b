"""The gRPC skin put together: every interceptor and service in one place, over whoever runs the model."""

import asyncio
from dataclasses import dataclass

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from holdfast.errors import HoldfastError
from holdfast.model.preprocess import InputContract
from holdfast.protos.holdfast.v1.holdfast_pb2 import GetModelInfoResponse
from holdfast.protos.holdfast.v1.holdfast_pb2_grpc import add_HoldfastServiceServicer_to_server
from holdfast.server.api.health import Health
from holdfast.server.api.holdfast_v1 import NAME, HoldfastService
from holdfast.server.api.interceptors import Admit, Measure, Translate
from holdfast.server.core.decoding import Decoder
from holdfast.server.core.drain import Drain
from holdfast.server.core.pipeline import Offers, Pipeline
from holdfast.server.core.request import InferenceBackend
from holdfast.server.monitor.metrics import Metrics
from holdfast.server.settings import Settings

CLOSE_GRACE_S = 0.25
"""Seconds that connections get to say goodbye once every call has ended."""


@dataclass(frozen=True)
class Served:
    """What a skin has to know about the bundle, which it does not open.

    Attributes:
        info: what GetModelInfo answers.
        contract: what images are decoded to.

    """

    info: GetModelInfoResponse
    contract: InputContract


class GrpcServer:
    """Takes calls, decodes their images, asks the model and replies. Belongs to one event loop.

    Args:
        settings: of the server.
        served: the bundle, as far as callers see it.
        model: answers batches.
        metrics: of this process.
        prober: is offered each answered image; None where somebody else does that.
        shares_port: whether other processes listen on the same port.

    """

    def __init__(
        self,
        settings: Settings,
        served: Served,
        model: InferenceBackend,
        metrics: Metrics,
        prober: Offers | None = None,
        *,
        shares_port: bool = False,
    ) -> None:
        self._settings = settings
        self._decoder = Decoder(served.contract, max_pixels=settings.max_pixels, threads=settings.decode_threads)
        self._pipeline = Pipeline(self._decoder, model, metrics, prober, settings.max_images)
        self._drain = Drain()
        self._health = Health(model, served.contract, NAME, interval=settings.canary_interval, timeout=settings.canary_timeout)
        self._server = grpc.aio.server(
            interceptors=(Measure(metrics), Translate(), Admit(self._drain, NAME)),
            options=_options(settings, shares_port=shares_port),
        )
        self._add_services(served.info)
        self.port = 0

    def _add_services(self, info: GetModelInfoResponse) -> None:
        service = HoldfastService(self._pipeline, info, self._drain, self._settings.stream_window)
        add_HoldfastServiceServicer_to_server(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, self._server)
        if self._settings.reflection:
            names = (NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

    def listen(self) -> None:
        """Take the port; `port` says which.

        Raises:
            HoldfastError: it is taken.

        """
        try:
            self.port = self._server.add_insecure_port(f"{self._settings.host}:{self._settings.port}")
        except (RuntimeError, OSError) as error:
            raise HoldfastError(f"cannot listen on {self._settings.host}: {error}") from None

    async def start(self) -> None:
        """Serve, warm up, and only then be healthy.

        Raises:
            EngineError: the model does not answer the canary.

        """
        await self._health.start()
        await self._server.start()
        await self._health.warm(self._settings.max_batch)

    async def drain(self) -> bool:
        """Go down: NOT_SERVING, refuse new calls, finish those in flight, close. Returns whether all were finished."""
        await self._health.drain()
        # Long enough to be seen by who asks for health, even where nothing is in flight.
        finished, _ = await asyncio.gather(
            self._drain.finished(self._settings.drain_grace), asyncio.sleep(self._settings.drain_notice)
        )
        await self.close()
        return finished

    async def close(self) -> None:
        """Close connections and end the decoder's threads."""
        # What is still open now are health watches, which never end by themselves, and calls beyond their grace.
        await self._server.stop(CLOSE_GRACE_S)
        self._decoder.close()


def _options(settings: Settings, *, shares_port: bool) -> list[tuple[str, int]]:
    """Channel arguments of gRPC, as documented in grpc/impl/channel_arg_names.h."""
    milliseconds = int(settings.keepalive * 1000)
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_concurrent_streams", settings.max_streams),
        ("grpc.keepalive_time_ms", milliseconds),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients may ping as often as every ten seconds before they are sent away.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # A second server on the same port is an error, and not a secret sharer of connections.
        ("grpc.so_reuseport", int(shares_port)),
    ]
