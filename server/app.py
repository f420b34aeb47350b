"""The server put together: every part, interceptor and service in one place."""

import asyncio
import json
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from bundle.bundle import Bundle
from bundle.classifier import Classifier
from bundle.errors import HoldfastError
from bundle.files import write_atomically
from protos.holdfast.v1.holdfast_pb2_grpc import add_HoldfastServiceServicer_to_server
from server.batching import Limits
from server.decoding import Decoder
from server.drain import Drain
from server.engine import Engine, engine_of
from server.health import Health
from server.interceptors import Admit, Measure, Translate
from server.metrics import Metrics, MetricsEndpoint
from server.pipeline import Pipeline
from server.probes import Prober
from server.service import NAME, HoldfastService, model_info
from server.settings import Settings

LAST_WORDS = 0.25
"""Seconds that connections get to say goodbye once every call has ended."""


class App:
    """One server over one bundle. Make, start and drain it on one event loop."""

    def __init__(self, settings: Settings, bundle: Bundle) -> None:
        self.settings, self._bundle = settings, bundle
        self.classifier = Classifier(bundle)
        self.metrics = Metrics()
        self.metrics.serves(self.classifier)
        limits = Limits(settings.max_batch, settings.max_wait, settings.queue_images)
        self.batcher = engine_of(self.classifier, limits, self.metrics)
        self._decoder = Decoder(bundle.manifest.input, max_pixels=settings.max_pixels, threads=settings.decode_threads)
        self._prober = _prober(settings, self.classifier, self.metrics, self.batcher)
        self._pipeline = Pipeline(self._decoder, self.batcher, self.metrics, self._prober, settings.max_images)
        self._drain = Drain()
        self._health = Health(
            self.batcher,
            bundle.manifest.input,
            NAME,
            interval=settings.canary_interval,
            timeout=settings.canary_timeout,
        )
        self._server = grpc.aio.server(
            interceptors=(Measure(self.metrics), Translate(), Admit(self._drain, NAME)), options=_options(settings)
        )
        self._add_services()
        self.port = 0
        self._endpoint: MetricsEndpoint | None = None

    def _add_services(self) -> None:
        info = model_info(self.classifier, self.settings)
        service = HoldfastService(self._pipeline, info, self._drain, self.settings.stream_window)
        add_HoldfastServiceServicer_to_server(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, self._server)
        if self.settings.reflection:
            names = (NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

    @property
    def address(self) -> str:
        """host:port of gRPC, once started."""
        return f"{self.settings.host}:{self.port}"

    @property
    def metrics_url(self) -> str:
        """Where the metrics are, once started."""
        port = self._endpoint.port if self._endpoint else 0
        return f"http://{self.settings.host}:{port}/metrics"

    async def start(self) -> None:
        """Listen, warm up, and only then be healthy.

        Raises:
            HoldfastError: a port is taken.
            EngineError: the model does not answer the canary.

        """
        await self._health.start()
        try:
            self.port = self._server.add_insecure_port(self.address_to_bind)
            self._endpoint = MetricsEndpoint(self.metrics, self.settings.host.strip("[]"), self.settings.metrics_port)
        except (RuntimeError, OSError) as error:
            raise HoldfastError(f"cannot listen on {self.settings.host}: {error}") from None
        self.batcher.start()
        await self._server.start()
        await self._health.warm(self.settings.max_batch)
        if self._prober is not None:
            self._prober.start()
        if self.settings.port_file is not None:
            write_ports(self.settings.port_file, self.address, self.metrics_url)

    @property
    def address_to_bind(self) -> str:
        """host:port as asked for; port 0 is any free one."""
        return f"{self.settings.host}:{self.settings.port}"

    async def drain(self) -> bool:
        """Go down: NOT_SERVING, refuse new calls, finish those in flight, close. Returns whether all were finished."""
        await self._health.drain()
        # Long enough to be seen by who asks for health, even where nothing is in flight.
        finished, _ = await asyncio.gather(
            self._drain.finished(self.settings.drain_grace), asyncio.sleep(self.settings.drain_notice)
        )
        # What is still open now are health watches, which never end by themselves, and calls beyond their grace.
        await self._server.stop(LAST_WORDS)
        if self._prober is not None:
            self._prober.stop()
        self.batcher.stop()
        self._decoder.close()
        if self._endpoint is not None:
            self._endpoint.close()
        return finished


def write_ports(path: Path, address: str, metrics: str) -> None:
    """Tell scripts where the server is: {"address": "host:port", "metrics": "http://..."}."""
    write_atomically(path, json.dumps({"address": address, "metrics": metrics}).encode())


def _prober(settings: Settings, classifier: Classifier, metrics: Metrics, engine: Engine) -> Prober | None:
    """The prober, where it is on; its radii are the bundle's unless said otherwise."""
    if settings.probe_rate == 0:
        return None
    if not settings.probe_epsilons:
        threat = classifier.bundle.manifest.threat_model
        if threat.norm != "linf" or threat.epsilon == 0:
            raise HoldfastError("the bundle names no L-infinity radius to probe at; set --probe-epsilons")
        settings = settings.model_copy(update={"probe_epsilons": (threat.epsilon,)})
    return Prober(settings, classifier, classifier.bundle.gradient, metrics, engine.idle)


def _options(settings: Settings) -> list[tuple[str, int]]:
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
        ("grpc.so_reuseport", 0),
    ]
