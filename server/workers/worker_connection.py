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
from holdfast.server.core.scheduling.admission import Demand, Permit
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.decoding.turns import LoopTurns
from holdfast.server.workers.frames import Link, WireError
from holdfast.server.workers.known_models import KnownModels
from holdfast.server.workers.messages import (
    HEAD,
    Cancel,
    ImagesRequest,
    answers_size,
    decode_request,
    encode_answers,
    encode_backlog,
    encode_model,
    encode_refusal,
)

ANNOUNCE_AFTER_S = 0.003
"""Seconds between what changes the backlog and its announcement: what changes meanwhile is announced with it."""

ENCODED_S = 1e-9
"""Expected seconds of encoding and sending answers, for each of their bytes."""

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.server.core.scheduling.queue import Call


class BacklogAnnouncer:
    """Tells every worker what is ahead of a newcomer, soon after it has changed, so that they refuse before they decode.

    Args:
        batcher: whose backlog it is.

    """

    def __init__(self, batcher: Batcher) -> None:
        self._batcher, self._links = batcher, set[Link]()
        self._soon: asyncio.TimerHandle | None = None

    def join(self, link: Link) -> None:
        """A worker that wants to hear."""
        self._links.add(link)

    def leave(self, link: Link) -> None:
        """It is gone."""
        self._links.discard(link)

    def changed(self) -> None:
        """Something came into the queue, or was answered."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(ANNOUNCE_AFTER_S, self._announce)

    def _announce(self) -> None:
        self._soon = None
        message = encode_backlog(self._batcher.backlog())
        for link in self._links:
            link.send(message)


class WorkerConnection:
    """The engine's end of one worker's data link, on the engine's loop.

    Every model is described on this link before the first answer of it is sent, and soon after it was published.

    Args:
        name: of the worker, for the log.
        batcher: runs the model for all workers; its admission bounds what all of them send.
        holder: of the model.
        most_images: of one request, canaries included.
        backlogs: tells all workers what is ahead of a newcomer.
        turns: of the engine's loop, for all workers: several long answers may be ready at once.

    """

    def __init__(
        self,
        name: str,
        batcher: Batcher,
        holder: ModelHolder,
        most_images: int,
        backlogs: "BacklogAnnouncer",
        *,
        turns: LoopTurns,
    ) -> None:
        self._turns, self._sending = turns, set[asyncio.Task[None]]()
        self._batcher, self._holder, self._backlogs = batcher, holder, backlogs
        self._shape = holder.current.description.contract.shape  # which no publish changes
        self._open: dict[int, Call] = {}
        self._described = KnownModels()
        self._unsubscribe: Callable[[], None] | None = None
        self._link = Link(f"the data link of {name}", HEAD + most_images * prod(self._shape), self._receive, self._lost)

    async def open(self, end: socket.socket) -> None:
        """Begin to serve. `end` is the link's from now on."""
        await self._link.open(end)
        self._backlogs.join(self._link)
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
                self._batcher.abandon(left)
            return
        if message.number in self._open:
            raise WireError(f"a second request of the number {message.number}")
        # A canary tests whether the engine answers, which a full queue says nothing about.
        permit: Permit | None = None
        try:
            if not self._batcher.alive():
                raise DrainingError  # noqa: TRY301 - one way for all refusals
            if message.want.kind != CallKind.CANARY:
                permit = self._batcher.admit(Demand(len(message.images), message.deadline, message.caller))
                permit.decoded()
        except (DrainingError, DeadlineError, QueueFullError) as error:
            self._link.send(encode_refusal(message.number, error))
            return
        call = self._batcher.enqueue(message.images, message.deadline, message.want, message.caller)
        self._open[message.number] = call
        call.future.add_done_callback(partial(self._answer, message, permit))
        self._backlogs.changed()

    def _answer(self, request: ImagesRequest, permit: Permit | None, future: Future[list[BatchSlice]]) -> None:
        del self._open[request.number]
        self._backlogs.changed()
        answered = not future.cancelled() and future.exception() is None
        if permit is not None:
            if answered:
                permit.answered()
            permit.release()
        if future.cancelled():
            return
        if not answered:
            error = future.exception()
            self._link.send(encode_refusal(request.number, error if isinstance(error, Exception) else DrainingError()))
            return
        seconds = answers_size(future.result(), request.want) * ENCODED_S
        if self._turns.taken(seconds):
            self._send_answers(request, future.result())
            return
        sending = asyncio.get_running_loop().create_task(self._send_in_turn(request, future.result(), seconds))
        self._sending.add(sending)  # or nothing would hold it
        sending.add_done_callback(self._sending.discard)

    async def _send_in_turn(self, request: ImagesRequest, slices: list[BatchSlice], seconds: float) -> None:
        await self._turns.take(request.caller, seconds)
        self._send_answers(request, slices)

    def _send_answers(self, request: ImagesRequest, slices: list[BatchSlice]) -> None:
        self._describe(slices[0].batch.model)
        self._link.send(encode_answers(request.number, slices, request.want))

    def _lost(self) -> None:
        for sending in self._sending:
            sending.cancel()
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._backlogs.leave(self._link)
        for call in list(self._open.values()):
            self._batcher.abandon(call)
