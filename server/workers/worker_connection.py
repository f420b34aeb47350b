"""One worker as the engine serves it: its requests are batched, and the answers sent back."""

import asyncio
import socket
from asyncio import Future
from functools import partial
from math import prod
from typing import TYPE_CHECKING

from holdfast.server.core.batching import Batcher
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.errors import DeadlineError, DrainingError, QueueFullError
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.request import BatchSlice, CallKind
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.workers.frames import Link, WireError
from holdfast.server.workers.known_models import KnownModels
from holdfast.server.workers.messages import (
    HEAD,
    Cancel,
    ImagesRequest,
    decode_request,
    encode_answers,
    encode_model,
    encode_refusal,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class WorkerConnection:
    """The engine's end of one worker's data link, on the engine's loop.

    Every model is described on this link before the first answer of it is sent, and soon after it was published.

    Args:
        name: of the worker, for the log.
        batcher: runs the model for all workers; its admission bounds what all of them send.
        holder: of the model.
        most_images: of one request, canaries included.

    """

    def __init__(self, name: str, batcher: Batcher, holder: ModelHolder, most_images: int) -> None:
        self._batcher, self._holder = batcher, holder
        self._shape = holder.current.description.contract.shape  # which no publish changes
        self._open: dict[int, Future[list[BatchSlice]]] = {}
        self._described = KnownModels()
        self._unsubscribe: Callable[[], None] | None = None
        self._link = Link(f"the data link of {name}", HEAD + most_images * prod(self._shape), self._receive, self._lost)

    async def open(self, end: socket.socket) -> None:
        """Begin to serve. `end` is the link's from now on."""
        await self._link.open(end)
        loop = asyncio.get_running_loop()

        def follow(snapshot: ModelSnapshot) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._describe, snapshot.description)

        self._unsubscribe = self._holder.subscribe(follow)
        self._describe(self._holder.current.description)

    def close(self) -> None:
        """End the link; the worker goes down with it."""
        self._link.close()

    def _describe(self, model: ModelDescription) -> None:
        if model.version not in self._described:
            self._described.add(model)
            self._link.send(encode_model(model))

    def _receive(self, body: memoryview) -> None:
        message = decode_request(body, self._shape)
        if isinstance(message, Cancel):
            if (left := self._open.get(message.number)) is not None:
                left.cancel()  # and the batcher drops its images when it comes to them
            return
        if message.number in self._open:
            raise WireError(f"a second request of the number {message.number}")
        # A canary tests whether the engine answers, which a full queue says nothing about.
        counted = 0 if message.want.kind == CallKind.CANARY else len(message.images)
        try:
            if not self._batcher.alive():
                raise DrainingError  # noqa: TRY301 - one way for all refusals
            self._batcher.admission.take(counted, message.deadline)
        except (DrainingError, DeadlineError, QueueFullError) as error:
            self._link.send(encode_refusal(message.number, self._batcher.pause(), error))
            return
        future = self._batcher.enqueue(message.images, message.deadline, message.want, message.caller)
        self._open[message.number] = future
        future.add_done_callback(partial(self._answer, message, counted))

    def _answer(self, request: ImagesRequest, counted: int, future: Future[list[BatchSlice]]) -> None:
        self._batcher.admission.give_back(counted)
        del self._open[request.number]
        if future.cancelled():
            return
        pause, error = self._batcher.pause(), future.exception()
        if error is not None:
            refusal = error if isinstance(error, Exception) else DrainingError()
            self._link.send(encode_refusal(request.number, pause, refusal))
            return
        slices = future.result()
        self._describe(slices[0].batch.model)
        self._link.send(encode_answers(request.number, pause, slices, request.want))

    def _lost(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
        for future in list(self._open.values()):
            future.cancel()
