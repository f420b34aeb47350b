"""Health that tests the worker: a canary goes through the real batch path, at the start and ever after."""

import asyncio
import logging
import time

import numpy as np
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from holdfast.model.preprocess import InputContract
from holdfast.server.core.errors import QueueFullError
from holdfast.server.core.request import CANARY, NO_DEADLINE, InferenceBackend

log = logging.getLogger(__name__)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Keeps grpc.health.v1 true, for the server as a whole ("") and for one service by name."""

    def __init__(
        self, model: InferenceBackend, contract: InputContract, service: str, *, interval: float, timeout: float
    ) -> None:
        self.servicer = health_aio.HealthServicer()
        self._model, self._service = model, service
        self._interval, self._timeout = interval, timeout
        # Grey noise: a constant image may take short cuts that a real one does not.
        self._canary = np.random.default_rng(0).integers(0, 256, contract.shape, dtype=np.uint8)
        self._watch: asyncio.Task[None] | None = None
        self._status = NOT_SERVING

    async def start(self) -> None:
        """NOT_SERVING until `warm` has returned."""
        await self._set(NOT_SERVING)

    async def warm(self, batch: int) -> None:
        """Send one canary, then a full batch, for every buffer to have its size; SERVING when both are answered.

        Raises:
            EngineError: the model cannot answer.

        """
        for images in (1, batch):
            await self._model.submit([self._canary] * images, NO_DEADLINE, CANARY)
        await self._set(SERVING)
        self._watch = asyncio.create_task(self._watch_worker())

    async def drain(self) -> None:
        """NOT_SERVING from now on."""
        if self._watch is not None:
            self._watch.cancel()
        self._status = NOT_SERVING
        await self.servicer.enter_graceful_shutdown()

    async def _watch_worker(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            status = SERVING if await self._worker_answers() else NOT_SERVING
            if status != self._status:
                log.warning("health is now %s", health_pb2.HealthCheckResponse.ServingStatus.Name(status))
                await self._set(status)

    async def _worker_answers(self) -> bool:
        if time.monotonic() - self._model.last_success < self._interval:
            return True  # traffic has proved it
        try:
            async with asyncio.timeout(self._timeout):
                with self._model.admit(1):
                    await self._model.submit([self._canary], NO_DEADLINE, CANARY)
        except QueueFullError:
            return self._model.alive()  # busy is not ill
        except Exception:  # a late canary, or a model that fails: either way it does not answer
            log.exception("the canary was not answered")
            return False
        return True

    async def _set(self, status: "health_pb2.HealthCheckResponse.ServingStatus.ValueType") -> None:
        self._status = status
        for name in ("", self._service):
            await self.servicer.set(name, status)
