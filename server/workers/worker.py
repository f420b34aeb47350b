"""What a worker process does, from its start to its end."""

import asyncio
import logging
import os
import signal
import socket
from contextlib import suppress
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.server.api.grpc_server import CLOSE_GRACE_S
from holdfast.server.api.server import ApiServer
from holdfast.server.core.errors import DrainingError, EngineError, EngineGoneError, EngineSilentError
from holdfast.server.core.scheduling.admission import AdmissionLimits
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.process import loop_factory, quiet_collector, run_unless, stop_signal
from holdfast.server.telemetry.logs import configure_logging
from holdfast.server.workers.control import MOST_BYTES, Begin, decode, encode, receive_begin
from holdfast.server.workers.frames import Link
from holdfast.server.workers.heartbeat import Heartbeat
from holdfast.server.workers.remote_backend import RemoteBackend
from holdfast.server.workers.samples import samples_of

log = logging.getLogger(__name__)

LOST = "the loss of the engine"


def run(data: socket.socket, control: socket.socket) -> int:
    """Serve calls until the engine says that it is enough, or is gone. Returns the exit status."""
    # Ctrl-C is meant for the engine, which drains its workers, and SIGHUP too, which loads another model there. The engine
    # started this process with both held back.
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        begin = receive_begin(control)
    except (EOFError, ConnectionError):
        return 1
    configure_logging(begin.settings.log_format, begin.name)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        status = runner.run(Worker(begin).serve(data, control))
    if status:
        # Threads that still decode would hold the process back, and nobody waits for their images.
        os._exit(status)
    return status


class Worker:
    """One worker on one event loop."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._metrics = Metrics(engine=False)
        self._control = Link("the control link to the engine", MOST_BYTES, self._receive, self._lost)
        self._heartbeat = Heartbeat(begin.settings.worker_timeout, self._beat, self._engine_silence)
        self._backend = RemoteBackend(AdmissionLimits.of(begin.settings), self._metrics, self._lost)
        self._server: ApiServer | None = None
        self._stopping: asyncio.Future[str] | None = None

    async def serve(self, data: socket.socket, control: socket.socket) -> int:
        """Start, be ready, drain. Returns the exit status: 0 unless it could not start or has lost the engine."""
        self._stopping = stopping = stop_signal(signal.SIGTERM)
        settings = self._begin.settings
        try:
            await self._control.open(control)
            self._heartbeat.start()
            await self._backend.open(data)
            options: dict[str, Any] = {"shares_port": True, "held": self._begin.held, "health_changed": self._say_health}
            self._server = ApiServer(settings, self._backend, self._metrics, **options)
            await self._server.listen()
            if await run_unless(stopping, self._server.start()):
                quiet_collector()
                self._control.send(encode(ready=True))
                await stopping
        except (HoldfastError, EngineError, EngineGoneError, EngineSilentError, DrainingError) as error:
            if not stopping.done():
                self._control.send(encode(failed=str(error)))
                return await self._end(status=1)
        if stopping.result() == LOST or self._server is None:
            return await self._end(status=1)
        await self._server.announce_end()
        self._control.send(encode(drained=await self._server.drain()))
        return await self._end(status=0)

    async def _end(self, status: int) -> int:
        self._heartbeat.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(4 * CLOSE_GRACE_S):
                self._control.close()
                await self._control.closed.wait()  # once what was written last is sent
                self._backend.close()
                if status and self._server is not None:
                    await self._server.close()
        return status

    def _beat(self) -> None:
        self._control.send(encode(beat=True))

    def _say_health(self, serving: bool) -> None:
        self._control.send(encode(serving=serving))

    def _engine_silence(self, silent: bool) -> None:
        if silent:
            log.error("the engine has been silent for %g s, stopped or hanging", self._begin.settings.worker_timeout)
        else:
            log.info("the engine is heard again")
        self._backend.engine_silence(silent)
        if self._server is not None:
            self._server.look_at_health()

    def _receive(self, body: memoryview) -> None:
        message: dict[str, Any] = decode(body)
        self._heartbeat.heard()
        if "scrape" in message:
            self._control.send(encode(samples=samples_of(self._metrics.registry), number=message["scrape"]))
        elif "drain" in message:
            self._stop("the engine's request")

    def _lost(self) -> None:
        self._stop(LOST)

    def _stop(self, why: str) -> None:
        if self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(why)
