"""The client, for asyncio."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Self

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from holdfast.client.channel import ADDRESS, IN_FLIGHT, PER_CALL, Tls, metadata_of, open_aio_channel
from holdfast.client.errors import ClientError, ImageRefusedError, MessageTooLargeError, from_call, from_status
from holdfast.client.messages import (
    NO_LIMITS,
    SIGMA,
    CallLimits,
    ImageLike,
    Outcome,
    Wanted,
    in_calls,
    to_embeddings,
    to_image,
    to_model_info,
    to_outcomes,
    wanted_of,
)
from holdfast.client.results import Answer, ModelInfo
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from holdfast.protos.holdfast.v1.holdfast_pb2_grpc import HoldfastServiceStub

if TYPE_CHECKING:
    from holdfast.protos.holdfast.v1.holdfast_pb2_grpc import HoldfastServiceAsyncStub


class AsyncClient:
    """A connection to one server, for one event loop. Every method raises ClientError and its subclasses.

    Args:
        address: host:port.
        timeout: seconds that one call may take; a stream as a whole has none.
        tls: how the connection is encrypted; None: not at all.
        token: goes with every call; None where the server asks for none.
        plaintext_token: whether the token may go to another machine without TLS.

    Raises:
        CredentialError: the token or a file of `tls` cannot be used, or others on the way could read the token.

    """

    def __init__(
        self,
        address: str = ADDRESS,
        *,
        timeout: float = 10.0,
        tls: Tls | None = None,
        token: str | None = None,
        plaintext_token: bool = False,
    ) -> None:
        self.address, self.timeout = address, timeout
        self._limits: CallLimits | None = None
        self._metadata = metadata_of(token, address, tls, plaintext_token=plaintext_token)
        self._channel = open_aio_channel(address, tls)
        self._stub: HoldfastServiceAsyncStub = HoldfastServiceStub(self._channel)  # type: ignore[assignment]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close()

    async def classify(
        self,
        image: ImageLike,
        *,
        neighbours: int = 0,
        certificates: bool = False,
        certify: int = 0,
        sigma: float = SIGMA,
    ) -> Answer:
        """The answer for one image.

        Args:
            image: encoded bytes, a path, or pixels.
            neighbours: how many of its nearest exemplars come with it; at most the k of the vote.
            certificates: whether it comes with what it would take to change it.
            certify: draws of noise by which it is smoothed, each of which costs the server what an image does; 0: none.
            sigma: standard deviation of that noise, in pixels of [0, 1].

        """
        outcome = (await self._classify([to_image(image)], wanted_of(neighbours, certificates, certify, sigma)))[0]
        if isinstance(outcome, ClientError):
            raise outcome
        return outcome

    async def classify_many(
        self,
        images: Iterable[ImageLike],
        *,
        neighbours: int = 0,
        certificates: bool = False,
        certify: int = 0,
        sigma: float = SIGMA,
        per_call: int = PER_CALL,
    ) -> list[Outcome]:
        """Outcomes for many images, `per_call` at a time or as many as the server takes, in order.

        A bad image's outcome is its error; others stand. The other arguments are those of `classify`.
        """
        wanted = wanted_of(neighbours, certificates, certify, sigma)
        outcomes, limits = list[Outcome](), await self._call_limits()
        for call in in_calls(images, limits.per_call(per_call, certify), limits):
            try:
                outcomes += await self._classify(call, wanted)
            except (ImageRefusedError, MessageTooLargeError) as error:
                if len(call) > 1:
                    raise
                outcomes.append(error)  # a call of one image fails as a whole
        return outcomes

    async def stream(
        self,
        images: Iterable[ImageLike],
        *,
        neighbours: int = 0,
        certificates: bool = False,
        certify: int = 0,
        sigma: float = SIGMA,
        in_flight: int = IN_FLIGHT,
    ) -> AsyncIterator[tuple[int, Outcome]]:
        """Yields (position, outcome) as answers come, not in order, with at most `in_flight` images on the way."""
        wanted = wanted_of(neighbours, certificates, certify, sigma)
        room = asyncio.Semaphore(in_flight)
        unreadable: list[Exception] = []

        async def requests() -> AsyncIterator[pb.ClassifyStreamRequest]:
            try:
                for position, image in enumerate(images):
                    await room.acquire()
                    yield pb.ClassifyStreamRequest(sequence=position, images=[to_image(image)], **wanted)
            except (OSError, TypeError) as error:  # gRPC would log it and end the call without an error
                unreadable.append(error)

        call = self._stub.ClassifyStream(requests(), metadata=self._metadata)
        try:
            async for reply in call:
                room.release()
                failed = reply.HasField("error")
                yield (
                    reply.sequence,
                    (from_status(reply.error, self.address) if failed else to_outcomes(reply, self.address)[0]),
                )
        except grpc.aio.AioRpcError as error:
            raise from_call(error, self.address) from None
        finally:
            call.cancel()
        if unreadable:
            raise unreadable[0]

    async def embed(self, images: Iterable[ImageLike], *, per_call: int = PER_CALL) -> NDArray[np.float32]:
        """Embeddings float32 [N, D], L2-normalised. Raises ImageRefusedError if any image is refused."""
        parts = []
        for call in in_calls(images, per_call, await self._call_limits()):
            try:
                response = await self._stub.Embed(pb.EmbedRequest(images=call), timeout=self.timeout, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                raise from_call(error, self.address) from None
            parts.append(to_embeddings(response, self.address))
        return np.concatenate(parts) if parts else np.zeros((0, (await self.model_info()).embedding_dim), np.float32)

    async def model_info(self) -> ModelInfo:
        """What is served."""
        try:
            request = pb.GetModelInfoRequest()
            return to_model_info(await self._stub.GetModelInfo(request, timeout=self.timeout, metadata=self._metadata))
        except grpc.aio.AioRpcError as error:
            raise from_call(error, self.address) from None

    async def _call_limits(self) -> CallLimits:
        """What the server takes in one call; it is asked once."""
        if self._limits is None:
            try:
                info = await self.model_info()
                self._limits = CallLimits.of(info.images_per_call, info.message_bytes, info.certify_passes)
            except MessageTooLargeError:  # a message of the server's does not hold the names of all its classes
                self._limits = NO_LIMITS
        return self._limits

    async def _classify(self, images: list[image_pb2.Image], wanted: Wanted) -> list[Outcome]:
        try:
            request = pb.ClassifyRequest(images=images, **wanted)
            response = await self._stub.Classify(request, timeout=self.timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise from_call(error, self.address) from None
        return to_outcomes(response, self.address)
