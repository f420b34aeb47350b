"""Whose message is read next, and how many bytes of messages are held."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import pytest
from prometheus_client import CollectorRegistry

from holdfast.server.core.errors import CallerLimitError, QueueFullError
from holdfast.server.core.scheduling.messages import EACH, MOST_WAITING, TOLD_APART, MessageLimits, MessageReading
from holdfast.server.decoding.turns import LoopTurns
from holdfast.server.metrics.messages import MessageMetrics

T = TypeVar("T")

RATE = 4_000_000.0
"""Bytes a second: a caller may send a million at once."""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Server:
    """Reads messages that come when a test says so, and knows which callers are being read from, in their order."""

    def __init__(self, **limits: float) -> None:
        self.registry, self.clock, self.read_from = CollectorRegistry(), Clock(), list[str]()
        self.reading = MessageReading(MessageLimits(**limits), MessageMetrics(self.registry), LoopTurns(), self.clock)

    async def sent(self, caller: str, size: int) -> None:
        """A message of so many bytes has come of late."""

        async def receive() -> bytes:
            return bytes(size)

        await self.reading.read(lambda: caller, receive)

    def call(self, caller: str, message: Awaitable[T]) -> "asyncio.Task[T]":
        async def receive() -> T:
            self.read_from.append(caller)
            return await message

        return asyncio.create_task(self.reading.read(lambda: caller, receive))

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def arrived(message: T) -> "asyncio.Future[T]":
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    future.set_result(message)
    return future


async def test_who_has_sent_too_many_bytes_waits_and_others_do_not() -> None:
    server = Server(rate=RATE)
    await server.sent("greedy", 1_040_000)
    late = server.call("greedy", arrived(1))
    other = server.call("other", arrived(2))
    await settle()
    assert server.read_from == ["other"]
    assert await other == 2
    server.clock.now += 0.01  # in which 40,000 bytes are paid for
    assert await asyncio.wait_for(late, 10) == 1
    assert server.metric("holdfast_delayed_messages_total") == 1


async def test_many_callers_share_what_all_may_send() -> None:
    server = Server(rate=RATE, total=2 * RATE)
    greedy = [f"greedy {number}" for number in range(8)]  # a quarter of RATE each
    for caller in greedy:
        await server.sent(caller, 1_040_000)
    late = [server.call(caller, arrived(1)) for caller in greedy]
    assert await server.call("other", arrived(2)) == 2
    server.clock.now += 0.5  # in which each would have paid by RATE alone
    await settle()
    assert server.read_from == ["other"]
    server.clock.now += 0.5
    assert await asyncio.wait_for(asyncio.gather(*late), 10) == [1] * 8
    server.clock.now += 10.0
    await server.sent(greedy[0], 1_040_000)
    alone = server.call(greedy[0], arrived(3))
    server.clock.now += 0.02  # alone, it has all of its own rate again
    assert await asyncio.wait_for(alone, 10) == 3


async def test_time_that_passes_while_it_is_looked_at_keeps_nobody_waiting() -> None:
    server, step = Server(rate=RATE), 1e-5
    clock = server.clock

    class Running(Clock):  # passes by 40 bytes with each look
        def __call__(self) -> float:
            clock.now += step
            return clock.now

    server.reading = MessageReading(MessageLimits(rate=RATE), MessageMetrics(None), LoopTurns(), Running())
    for more in range(60):
        await server.sent("greedy", 1_000_000 + 10 * more)
        assert await asyncio.wait_for(server.call("greedy", arrived(1)), 10) == 1
        clock.now += 10


async def test_who_was_refused_and_comes_back_too_soon_waits_unread() -> None:
    server = Server(rate=RATE)
    await server.sent("greedy", 100_000)
    server.reading.rest("greedy", 0.02)
    soon = server.call("greedy", arrived(1))
    assert await server.call("other", arrived(2)) == 2
    await settle()
    assert server.read_from == ["other"]
    server.clock.now += 0.021
    assert await asyncio.wait_for(soon, 10) == 1
    server.reading.rest("greedy", 1e6)  # no longer than a moment, whatever it was told
    server.clock.now += 1.0
    assert await server.call("greedy", arrived(3)) == 3


async def test_a_message_counts_before_the_next_is_read() -> None:
    server = Server(rate=RATE)
    await server.sent("greedy", 600_000)
    calls = [server.call("greedy", arrived(bytes(600_000))) for _ in range(3)]
    await settle()
    assert server.read_from == ["greedy"]
    for call in calls:
        server.clock.now += 0.2
        assert len(await asyncio.wait_for(call, 10)) == 600_000


async def test_a_greedy_caller_is_read_from_one_message_at_a_time() -> None:
    server = Server(rate=RATE)
    await server.sent("greedy", 900_000)
    coming = [asyncio.get_running_loop().create_future() for _ in range(3)]
    calls = [server.call("greedy", each) for each in coming]
    for number, (future, call) in enumerate(zip(coming, calls, strict=True), start=1):
        await settle()
        assert len(server.read_from) == number
        future.set_result(number)
        assert await call == number


async def test_silent_calls_of_one_caller_keep_no_other_from_sending() -> None:
    server, never = Server(rate=RATE), asyncio.get_running_loop().create_future()
    silent = [server.call("silent", asyncio.shield(never)) for _ in range(TOLD_APART + EACH + 5)]
    await settle()
    assert server.read_from == ["silent"] * (TOLD_APART + EACH)
    assert await server.call("other", arrived(7)) == 7
    for call in silent:
        call.cancel()
    await asyncio.wait(silent)
    assert await server.call("silent", arrived(8)) == 8  # it has room again
    never.cancel()


async def test_no_more_than_so_many_wait() -> None:
    server = Server(rate=RATE)
    await server.sent("greedy", 10_000_000)
    waiting = [server.call("greedy", arrived(0)) for _ in range(MOST_WAITING)]
    await settle()
    with pytest.raises(CallerLimitError):
        await server.call("greedy", arrived(0))
    assert server.metric("holdfast_refused_messages_total", limit="waiting") == 1
    for call in waiting:
        call.cancel()
    await asyncio.wait(waiting)
    server.clock.now += 10.0
    assert await server.call("greedy", arrived(3)) == 3


def test_what_is_held_is_bounded_for_all_and_for_one() -> None:
    server = Server(held=1000.0, share=0.5)
    hold = server.reading.hold
    alone = hold("a", 5000)  # one that is alone would never find room
    with pytest.raises(QueueFullError):
        hold("b", 1)
    alone()
    releases = [hold("a", 300), hold("a", 200)]
    with pytest.raises(CallerLimitError):
        hold("a", 1)
    releases.append(hold("b", 250))
    with pytest.raises(QueueFullError):
        hold("c", 251)
    assert server.metric("holdfast_held_message_bytes") == server.reading.held == 750
    assert server.metric("holdfast_refused_messages_total", limit="held") == 2
    assert server.metric("holdfast_refused_messages_total", limit="caller") == 1
    for release in releases:
        release()
    assert server.reading.held == 0


async def test_nobody_is_asked_who_they_are_while_nobody_sends_much() -> None:
    server = Server(rate=RATE)

    def unknown() -> str:
        raise AssertionError

    async def one() -> int:
        return 1

    assert [await server.reading.read(unknown, one) for _ in range(3)] == [1, 1, 1]
