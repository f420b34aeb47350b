"""The gRPC server put together: every interceptor and service in one place, over whichever backend runs the model."""

import asyncio
from collections.abc import Callable, Sequence

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from holdfast.server.access.files import HeldContent
from holdfast.server.access.gate import NOTHING_HELD, Gate
from holdfast.server.access.scopes import Needs, Requirement
from holdfast.server.address import take_port
from holdfast.server.api.api import Api
from holdfast.server.api.authentication import guards
from holdfast.server.api.correlation import Correlate
from holdfast.server.api.health import Health
from holdfast.server.api.interceptors import Admit, Measure, Translate
from holdfast.server.api.listening import methods_of, opener
from holdfast.server.api.parsing import Parse
from holdfast.server.api.receiving import Receive, Refuse
from holdfast.server.api.table import APIS
from holdfast.server.core.facade import Core
from holdfast.server.core.request import InferenceBackend
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.process import batch_threads
from holdfast.server.settings import Settings
from holdfast.server.telemetry.tracing import make_tracer

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

OPEN_SERVICES: dict[str, Requirement] = {
    f"/{HEALTH}/Check": Needs.NOTHING,  # whoever probes a server bears no token
    f"/{HEALTH}/Watch": Needs.NOTHING,
    f"/{HEALTH}/List": Needs.NOTHING,
    f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": Needs.ANY_TOKEN,
}
"""What the services need that are no API."""

CLOSE_GRACE_S = 0.25
"""Seconds that connections get to close once every call has ended."""


class GrpcServer:
    """Takes calls for every API. Belongs to one event loop.

    Args:
        settings: of the server.
        backend: answers batches.
        metrics: of this process.
        apis: that are offered.
        shares_port: whether other processes listen on the same port.
        health_changed: is told whether health checks say SERVING, each time that this is set.
        held: what another process has read of the files of tokens and certificates.

    Raises:
        HoldfastError: a file of tokens or certificates that cannot be used, or calls are to be traced without OpenTelemetry.

    """

    def __init__(
        self,
        settings: Settings,
        backend: InferenceBackend,
        metrics: Metrics,
        apis: Sequence[Api] = APIS,
        *,
        shares_port: bool = False,
        health_changed: Callable[[bool], None] = lambda _: None,
        held: HeldContent = NOTHING_HELD,
    ) -> None:
        self._settings, self._core, self._shares_port = settings, Core(settings, backend, metrics), shares_port
        names = [api.name for api in apis]
        times = {"interval": settings.canary_interval, "timeout": settings.canary_timeout}
        self._health = Health(backend, names, changed=health_changed, **times)
        self._core.is_serving = lambda: self._health.is_serving
        self._gate = Gate("public", metrics.access, settings.public_access, held)
        requirements = OPEN_SERVICES | {method: needs for api in apis for method, needs in api.requirements.items()}
        self._tracer = make_tracer(settings, metrics.traces)
        correlate = Correlate(names, settings.request_id_chars, self._tracer, metrics.traces)
        outer = (Receive(settings.message_timeout, self._core.messages), correlate, Translate(), Measure(metrics))
        guarded = guards(self._gate, requirements, outer)
        inner = (
            Admit(self._core.drain, names),
            Refuse(metrics, self._core.messages),
            Parse(settings.max_images, metrics),
        )
        # A call wakes gRPC's threads four times, and each time one would take the CPU from the event loop, which has to go on
        # before what woke it matters.
        with batch_threads(settings.batch_scheduling):
            options = channel_options(settings, shares_port=shares_port)
            self._server = grpc.aio.server(interceptors=(*guarded, *inner), options=options)
        methods = methods_of(self._server)
        for api in apis:
            api.register(methods, self._core)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, methods)
        if settings.reflection:
            reflection.enable_server_reflection((*names, HEALTH, reflection.SERVICE_NAME), self._server)
        self.port = 0

    @property
    def core(self) -> Core:
        """What answers, for other transports, too: they drain and are counted together."""
        return self._core

    @property
    def gate(self) -> Gate:
        """Who is let in, for other transports, too."""
        return self._gate

    def listen(self) -> None:
        """Take the port; `port` says which.

        Raises:
            HoldfastError: it is taken.

        """
        add, host, port = opener(self._server, self._gate), self._settings.host, self._settings.port
        self.port = take_port(add, host, port, "--port", shared=self._shares_port)

    async def start(self) -> None:
        """Serve, warm up, and only then be healthy.

        Raises:
            EngineError: the model does not answer the canary.

        """
        await self._health.start()
        self._gate.start()
        await self._server.start()
        await self._health.warm(self._settings.max_batch)

    @property
    def is_serving(self) -> bool:
        """Whether health checks say SERVING now."""
        return self._health.is_serving

    def look_at_health(self) -> None:
        """Look at once whether the engine answers, and not only when the next look is due."""
        self._health.look()

    async def announce_end(self) -> None:
        """NOT_SERVING in health checks from now on; returns after the notice, in which calls are taken as ever.

        Whoever sends calls here needs a moment to see it and to send them elsewhere. A server that never was SERVING gives no
        notice.
        """
        was_serving = self._health.is_serving
        await self._health.drain()
        await asyncio.sleep(self._settings.drain_notice if was_serving else 0)

    async def drain(self) -> bool:
        """Refuse new calls, finish those in flight, close. Returns whether all were finished."""
        finished = await self._core.drain.finished(self._settings.drain_grace)
        await self.close()
        return finished

    async def close(self) -> None:
        """Close connections and end the decoder's processes."""
        # What is still open now are health watches, which never end by themselves, and calls beyond their grace.
        await self._server.stop(CLOSE_GRACE_S)
        await self._gate.stop()
        self._core.close()
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.close)


def channel_options(settings: Settings, *, shares_port: bool) -> list[tuple[str, int]]:
    """Channel arguments of gRPC, as documented in grpc/impl/channel_arg_names.h."""
    milliseconds = int(settings.keepalive * 1000)
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", max(settings.max_message_bytes, settings.reply_bytes)),
        ("grpc.max_concurrent_streams", settings.max_streams),
        ("grpc.keepalive_time_ms", milliseconds),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.server_handshake_timeout_ms", int(settings.handshake_timeout * 1000)),
        # Clients may ping as often as every ten seconds before they are sent away.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # A second server on the same port is an error; it does not quietly share connections.
        ("grpc.so_reuseport", int(shares_port)),
    ]
