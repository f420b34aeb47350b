"""Health that tests the engine: a canary goes through the real batch path, at the start and ever after."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from holdfast.model.preprocess import Pixels
from holdfast.server.core.errors import EngineSilentError, IndexUnavailableError, QueueFullError
from holdfast.server.core.request import CANARY, NO_DEADLINE, InferenceBackend
from holdfast.server.core.scheduling.admission import Demand

log = logging.getLogger(__name__)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Keeps grpc.health.v1 true, for the server as a whole ("") and for its services by name.

    Args:
        backend: is tested.
        services: by name.
        interval, timeout: seconds between canaries, and without an answer to one.
        changed: is told whether checks say SERVING, each time that this is set.

    """

    def __init__(
        self,
        backend: InferenceBackend,
        services: Sequence[str],
        *,
        interval: float,
        timeout: float,
        changed: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.servicer = health_aio.HealthServicer()
        self._backend, self._names = backend, ("", *services)
        self._interval, self._timeout = interval, timeout
        self._watch: asyncio.Task[None] | None = None
        self._due = asyncio.Event()
        self._status, self._changed = NOT_SERVING, changed

    @property
    def is_serving(self) -> bool:
        """Whether checks say SERVING now."""
        return bool(self._status == SERVING)

    async def start(self) -> None:
        """NOT_SERVING until `warm` has returned."""
        await self._set(NOT_SERVING)

    async def warm(self, batch: int) -> None:
        """Send one canary, then a full batch, for every buffer to have its size; SERVING when both are answered.

        Raises:
            EngineError: the model cannot answer.

        """
        for images in (1, batch):
            await self._backend.submit([self._canary()] * images, NO_DEADLINE, CANARY)
        await self._set(SERVING)
        self._watch = asyncio.create_task(self._watch_engine())

    def look(self) -> None:
        """Look at once whether the engine answers."""
        self._due.set()

    async def drain(self) -> None:
        """NOT_SERVING from now on."""
        if self._watch is not None:
            self._watch.cancel()
        self._status = NOT_SERVING
        self._changed(False)
        await self.servicer.enter_graceful_shutdown()

    async def _watch_engine(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._due.wait()
            self._due.clear()
            status = SERVING if await self._engine_answers() else NOT_SERVING
            if status != self._status:
                log.warning("health is now %s", health_pb2.HealthCheckResponse.ServingStatus.Name(status))
                await self._set(status)

    async def _engine_answers(self) -> bool:
        if not self._backend.alive():
            return False
        if time.monotonic() - self._backend.last_success < self._interval:
            return True  # traffic has proved it
        try:
            async with asyncio.timeout(self._timeout):
                with self._backend.admit(Demand(1)):
                    await self._backend.submit([self._canary()], NO_DEADLINE, CANARY)
        except QueueFullError:
            return self._backend.alive()  # busy is not ill
        except (IndexUnavailableError, EngineSilentError):  # which is logged where it was found
            return False
        except Exception:  # a late canary, or a model that fails: either way it does not answer
            log.exception("the canary was not answered")
            return False
        return True

    def _canary(self) -> Pixels:
        """An image as the current model takes it. Grey noise: a constant image may take short cuts that a real one does not."""
        shape = self._backend.description.contract.shape
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    async def _set(self, status: "health_pb2.HealthCheckResponse.ServingStatus.ValueType") -> None:
        self._status = status
        self._changed(self.is_serving)
        for name in self._names:
            await self.servicer.set(name, status)
