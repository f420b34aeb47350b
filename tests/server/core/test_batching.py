"""The batcher alone, on a model that returns what it was given."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from holdfast.model.preprocess import Pixels
from holdfast.server.core.batching import Batcher, Limits
from holdfast.server.core.errors import DeadlineError, EngineError, QueueFullError
from holdfast.server.core.request import NO_DEADLINE, BatchSlice, Images
from holdfast.server.monitor.metrics import Metrics


def image(value: int) -> Pixels:
    return np.full((2, 2, 3), value, dtype=np.uint8)


class Echo:
    """Returns each image's value, and remembers the sizes of its batches."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.sizes: list[int] = []
        self._before = before

    def __call__(self, images: Pixels) -> list[int]:
        self.sizes.append(len(images))
        self._before()
        return [int(i) for i in images[:, 0, 0, 0]]


def values(shares: list[BatchSlice[list[int]]]) -> list[int]:
    return [value for share in shares for value in share.batch[share.start : share.stop]]


async def answers(batcher: Batcher[list[int], list[int]], images: Images, deadline: float = NO_DEADLINE) -> list[int]:
    return values(await batcher.submit(images, deadline))


def same(found: list[int]) -> list[int]:
    return found


@asynccontextmanager
async def running(
    run: Callable[[Pixels], list[int]],
    finish: Callable[[list[int]], list[int]] = same,
    *,
    finishers: int = 0,
    **limits: float,
) -> AsyncIterator[Batcher[list[int], list[int]]]:
    chosen = {"batch": 4, "wait": 0.0, "admitted": 100} | limits
    limited = Limits(int(chosen["batch"]), chosen["wait"], int(chosen["admitted"]))
    batcher = Batcher(run, finish, limited, Metrics(), finishers=finishers)
    batcher.start()
    try:
        yield batcher
    finally:
        await asyncio.to_thread(batcher.stop)


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    calls=st.lists(st.lists(st.integers(0, 255), max_size=9), min_size=1, max_size=12),
    batch=st.integers(1, 5),
    form=st.sampled_from([list, lambda images: np.array(images).reshape(-1, 2, 2, 3)]),
    finishers=st.integers(0, 2),
)
def test_every_call_gets_its_own_results_in_order(
    calls: list[list[int]], batch: int, form: Callable[..., Images], finishers: int
) -> None:
    async def all_calls() -> None:
        echo = Echo()
        async with running(echo, batch=batch, finishers=finishers) as batcher:
            results = await asyncio.gather(*(answers(batcher, form([image(v) for v in call])) for call in calls))
        assert results == calls
        assert sum(echo.sizes) == sum(map(len, calls))
        assert max(echo.sizes, default=0) <= batch

    asyncio.run(all_calls())


async def test_images_wait_for_company_but_not_for_long() -> None:
    echo = Echo()
    async with running(echo, wait=0.05, batch=3) as batcher:
        began = time.monotonic()
        assert await answers(batcher, [image(1)]) == [1]
        alone = time.monotonic() - began
        await asyncio.gather(*(answers(batcher, [image(v)]) for v in range(3)))
    assert 0.05 <= alone < 1
    assert echo.sizes == [1, 3]  # the second did not wait: it was full


async def test_room_is_bounded_and_given_back() -> None:
    async with running(Echo(), admitted=5) as batcher:
        with batcher.admit(3), batcher.admit(2):
            assert not batcher.idle()
            with pytest.raises(QueueFullError) as refused, batcher.admit(1):
                pass
            assert refused.value.retry_after > 0
        with pytest.raises(ZeroDivisionError), batcher.admit(5):
            raise ZeroDivisionError
        assert batcher.idle()


async def test_a_deadline_is_looked_at_on_admission_and_in_the_batch() -> None:
    gate, entered = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        gate.wait(10)

    echo = Echo(hold)
    async with running(echo) as batcher:
        with pytest.raises(DeadlineError), batcher.admit(1, time.monotonic() - 1):
            pass
        first = asyncio.create_task(answers(batcher, [image(1)]))
        await asyncio.to_thread(entered.wait, 10)
        late = asyncio.create_task(answers(batcher, [image(2)], time.monotonic() + 0.01))
        cancelled = asyncio.create_task(answers(batcher, [image(3)]))
        in_time = asyncio.create_task(answers(batcher, [image(4)], time.monotonic() + 60))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await asyncio.sleep(0)
        gate.set()
        assert await first == [1]
        with pytest.raises(DeadlineError):
            await late
        assert await in_time == [4]
    assert echo.sizes == [1, 1]


def unlucky(found: list[int]) -> list[int]:
    if 13 in found:
        raise RuntimeError("unlucky")
    return found


@pytest.mark.parametrize("finishers", [0, 1, 2])
@pytest.mark.parametrize("half", ["first", "second"])
async def test_a_failure_is_its_batchs_alone(half: str, finishers: int) -> None:
    echo = Echo()
    first, second = (lambda images: unlucky(echo(images)), same) if half == "first" else (echo, unlucky)
    async with running(first, second, batch=1, finishers=finishers) as batcher:
        outcomes = await asyncio.gather(*(answers(batcher, [image(v)]) for v in (12, 13, 14)), return_exceptions=True)
        assert outcomes[0] == [12]
        assert isinstance(outcomes[1], EngineError)
        assert outcomes[2] == [14]
        assert batcher.alive()


@pytest.mark.parametrize("finishers", [0, 1, 2])
async def test_a_model_that_returns_too_few_results_fails_its_batch(finishers: int) -> None:
    async with running(lambda images: [1] * (len(images) - 1), finishers=finishers) as batcher:
        with pytest.raises(EngineError):
            await asyncio.wait_for(answers(batcher, [image(1), image(2)]), 5)
        assert batcher.alive()


async def test_the_next_batch_begins_while_the_last_is_finished() -> None:
    """The first batch cannot be finished before the second one has been run: on one thread this would stand still."""
    second = threading.Event()

    def run(images: Pixels) -> list[int]:
        found = [int(i) for i in images[:, 0, 0, 0]]
        if 2 in found:
            second.set()
        return found

    def finish(found: list[int]) -> list[int]:
        assert second.wait(10)
        return found

    async with running(run, finish, batch=1, finishers=1) as batcher:
        both = asyncio.gather(*(answers(batcher, [image(v)]) for v in (1, 2)))
        assert await asyncio.wait_for(both, 10) == [[1], [2]]


async def test_a_call_of_several_batches_is_in_order_whichever_ends_first() -> None:
    overtaken = threading.Event()

    def finish(found: list[int]) -> list[int]:
        if 1 in found:
            assert overtaken.wait(10)
        else:
            overtaken.set()
        return found

    async with running(Echo(), finish, batch=2, finishers=2) as batcher:
        assert await asyncio.wait_for(answers(batcher, [image(v) for v in (1, 2, 3, 4)]), 10) == [1, 2, 3, 4]


@pytest.mark.parametrize("finishers", [0, 1, 2])
async def test_stopping_finishes_what_is_queued(finishers: int) -> None:
    async with running(Echo(lambda: time.sleep(0.02)), batch=1, finishers=finishers) as batcher:
        calls = [asyncio.create_task(answers(batcher, [image(v)])) for v in range(5)]
        await asyncio.sleep(0)
        await asyncio.to_thread(batcher.stop)
        assert await asyncio.gather(*calls) == [[v] for v in range(5)]
