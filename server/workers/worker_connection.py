"""Who serves one worker in the engine process: takes its requests, has them batched, sends the answers."""

import socket
from asyncio import Future
from functools import partial
from math import prod

from holdfast.server.core.engine import ModelBatcher
from holdfast.server.core.errors import DeadlineError, DrainingError, QueueFullError
from holdfast.server.core.pipeline import Offers
from holdfast.server.core.request import BatchSlice, Kind
from holdfast.server.core.result import Batch
from holdfast.server.workers.frames import Link, WireError
from holdfast.server.workers.messages import HEAD, Cancel, Request, decode_request, encode_answers, encode_refusal


class WorkerConnection:
    """One worker's end of the data link, on the engine's loop.

    Args:
        name: of the worker, for the log.
        batcher: runs the model for all workers; its admission bounds what all of them send.
        prober: is offered each classified image, where there is one.
        shape: of an image.
        most_images: of one request, canaries included.

    """

    def __init__(
        self, name: str, batcher: ModelBatcher, prober: Offers | None, shape: tuple[int, int, int], most_images: int
    ) -> None:
        self._batcher, self._prober, self._shape = batcher, prober, shape
        self._open: dict[int, Future[list[BatchSlice[Batch]]]] = {}
        self._link = Link(f"the data link of {name}", HEAD + most_images * prod(shape), self._receive, self._lost)

    async def open(self, end: socket.socket) -> None:
        """Begin to serve. `end` is the desk's from now on."""
        await self._link.open(end)

    def close(self) -> None:
        """End the link; the worker goes down with it."""
        self._link.close()

    def _receive(self, body: memoryview) -> None:
        message = decode_request(body, self._shape)
        if isinstance(message, Cancel):
            if (left := self._open.get(message.number)) is not None:
                left.cancel()  # and the batcher drops its images when it comes to them
            return
        if message.number in self._open:
            raise WireError(f"a second request of the number {message.number}")
        # A canary asks whether the worker answers, which a full queue does not tell.
        counted = 0 if message.wanted.kind == Kind.CANARY else len(message.images)
        try:
            if not self._batcher.alive():
                raise DrainingError  # noqa: TRY301 - one road for all refusals
            self._batcher.admission.take(counted, message.deadline)
        except (DrainingError, DeadlineError, QueueFullError) as error:
            self._link.send(encode_refusal(message.number, self._batcher.pause(), error))
            return
        future = self._batcher.enqueue(message.images, message.deadline)
        self._open[message.number] = future
        future.add_done_callback(partial(self._answer, message, counted))

    def _answer(self, request: Request, counted: int, future: Future[list[BatchSlice[Batch]]]) -> None:
        self._batcher.admission.give_back(counted)
        del self._open[request.number]
        if future.cancelled():
            return
        pause, error = self._batcher.pause(), future.exception()
        if error is not None:
            refusal = error if isinstance(error, Exception) else DrainingError()
            self._link.send(encode_refusal(request.number, pause, refusal))
            return
        shares = future.result()
        self._link.send(encode_answers(request.number, pause, shares, request.wanted))
        if self._prober is not None and request.wanted.kind == Kind.CLASSIFY:
            self._offer(self._prober, request, shares)

    @staticmethod
    def _offer(prober: Offers, request: Request, shares: list[BatchSlice[Batch]]) -> None:
        images = iter(request.images)
        for share in shares:
            answers, part = share.batch.answers, slice(share.start, share.stop)
            for label, margin in zip(answers.labels[part].tolist(), answers.soft_margin[part].tolist(), strict=True):
                prober.offer(next(images), label, margin)

    def _lost(self) -> None:
        for future in list(self._open.values()):
            future.cancel()
