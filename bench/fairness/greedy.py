"""Callers who send calls of many images, without a pause, each from an address of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from multiprocessing.synchronize import Event as ProcessEvent
from typing import Any

import grpc.aio
import uvloop

from bench.fairness.relay import relayed
from bench.load import CLASSIFY, input_shape, raw_requests
from holdfast.protos.holdfast.v1 import holdfast_pb2

LARGE_CALL = 256
OPTIONS = [("grpc.max_receive_message_length", 64 * 2**20), ("grpc.use_local_subchannel_pool", 1)]


@asynccontextmanager
async def channel_of(address: str, caller: str) -> AsyncIterator[grpc.aio.Channel]:
    """A connection that comes from an address of its own."""
    async with relayed(address, caller) as near, grpc.aio.insecure_channel(near, OPTIONS) as channel:
        yield channel


async def ask_always(address: str, callers: Sequence[str], neighbours: int, stop: ProcessEvent) -> None:
    """Greedy callers: each has one large call under way until it is to stop; refused ones are tried again."""
    (request,) = raw_requests(await input_shape(address), images=LARGE_CALL)
    wanted = holdfast_pb2.ClassifyRequest.FromString(request)
    wanted.neighbours, wanted.packed_neighbours = neighbours, False
    request = wanted.SerializeToString()

    async def greedy(channel: grpc.aio.Channel) -> None:
        call: Any = channel.unary_unary(CLASSIFY)
        while not stop.is_set():
            try:
                await call(request)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.02)

    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel_of(address, caller)) for caller in callers]
        await asyncio.gather(*map(greedy, channels))


def be_greedy(address: str, callers: Sequence[str], neighbours: int, stop: ProcessEvent) -> None:
    """The same, as a process."""
    uvloop.run(ask_always(address, callers, neighbours, stop))
