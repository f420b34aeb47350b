"""Callers of either transport: as fast as they are answered, or at a rate of their own whatever the server does."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from bench.peers.http_connection import HttpConnections
from bench.peers.wires import Wire

Floats = NDArray[np.float64]


@dataclass
class Calls:
    """What became of calls.

    Attributes:
        latencies: seconds of those that were answered; in an open loop from when they were due, not from when they were sent.
        replies: of those, with the number of the request.
        failures: of the others, by kind.
        seconds: from the first call to the last answer.

    """

    latencies: list[float] = field(default_factory=list)
    replies: list[tuple[int, bytes]] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Caller(ABC):
    """Sends requests that are bytes already."""

    @abstractmethod
    async def call(self, request: bytes, timeout: float | None) -> bytes:  # noqa: ASYNC109 - a call has one
        """The reply's bytes. Raises CallFailedError."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""


class CallFailedError(Exception):
    """By status, or by its deadline."""


class GrpcCaller(Caller):
    """Calls over one connection."""

    def __init__(self, wire: Wire, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self._method: Any = self._channel.unary_unary(wire.path)

    async def call(self, request: bytes, timeout: float | None) -> bytes:  # noqa: ASYNC109 - gRPC's deadline
        """One unary call."""
        try:
            reply: bytes = await self._method(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise CallFailedError(error.code().name) from None
        return reply

    async def close(self) -> None:
        """Close it."""
        await self._channel.close()


class HttpCaller(Caller):
    """Calls over as many connections as there are calls under way."""

    def __init__(self, address: str) -> None:
        self._connections = HttpConnections(*address.rsplit(":", 1))

    async def call(self, request: bytes, timeout: float | None) -> bytes:  # noqa: ASYNC109 - its own
        """One request. A connection is given up with its call."""
        try:
            async with asyncio.timeout(timeout):
                status, body = await self._connections.exchange(request)
        except TimeoutError:
            raise CallFailedError("DEADLINE_EXCEEDED") from None
        except OSError as error:
            raise CallFailedError(type(error).__name__) from None
        if status != 200:
            raise CallFailedError(str(status))
        return body

    async def close(self) -> None:
        """Close them."""
        self._connections.close()


def make_caller(wire: Wire, address: str) -> Caller:
    """Of the transport of the wire."""
    return GrpcCaller(wire, address) if wire.transport == "grpc" else HttpCaller(address)


async def closed_loop(caller: Caller, requests: Sequence[bytes], *, callers: int, calls: int) -> Calls:
    """So many calls by so many callers, each of whom begins the next one when it has its answer."""
    found, left = Calls(), iter(range(calls))

    async def one() -> None:
        for number in left:
            chosen = number % len(requests)
            began = time.perf_counter()
            try:
                reply = await caller.call(requests[chosen], None)
            except CallFailedError as error:
                found.failures[str(error)] += 1
                continue
            found.latencies.append(time.perf_counter() - began)
            found.replies.append((chosen, reply))

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(one())
    found.seconds = time.perf_counter() - started
    return found


async def open_loop(caller: Caller, requests: Sequence[bytes], *, rate: float, seconds: float, deadline: float) -> Calls:
    """Calls that are due at random moments, `rate` a second, for so long; each gives up `deadline` seconds after that."""
    found = Calls()
    due = np.cumsum(np.random.default_rng(0).exponential(1 / rate, round(rate * seconds)))

    async def one(number: int, at: float) -> None:
        chosen, left = number % len(requests), at + deadline - time.perf_counter()
        try:
            if left <= 0:
                raise CallFailedError("NOT_SENT")  # noqa: TRY301 - the callers themselves were late
            reply = await caller.call(requests[chosen], left)
        except CallFailedError as error:
            found.failures[str(error)] += 1
            return
        latency = time.perf_counter() - at
        if latency > deadline:
            found.failures["DEADLINE_EXCEEDED"] += 1
            return
        found.latencies.append(latency)
        found.replies.append((chosen, reply))

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, offset in enumerate(due.tolist()):
            wait = started + offset - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            elif number % 16 == 0:
                await asyncio.sleep(0)
            group.create_task(one(number, started + offset))
    found.seconds = time.perf_counter() - started
    return found
