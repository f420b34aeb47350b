"""The batcher alone, on models that return what they were given."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from holdfast.model.preprocess import Pixels
from holdfast.server.core.batching import Batcher, Limits
from holdfast.server.core.errors import DeadlineError, EngineError, QueueFullError
from holdfast.server.core.observers import Observers
from holdfast.server.core.request import NO_DEADLINE, BatchSlice, Images
from holdfast.server.core.scheduling.admission import AdmissionLimits, Demand
from holdfast.server.metrics.metrics import Metrics


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


@dataclass
class Model:
    """Stands in for a snapshot: its two halves are functions, and its answers are lists."""

    retrieve: Callable[[Pixels], list[int]]
    decide: Callable[[list[int]], list[int]]


def values(slices: list[BatchSlice]) -> list[int]:
    return [value for part in slices for value in part.batch[part.start : part.stop]]


async def answers(batcher: Batcher, images: Images, deadline: float = NO_DEADLINE) -> list[int]:
    return values(await batcher.submit(images, deadline))


def same(retrieved: list[int]) -> list[int]:
    return retrieved


@asynccontextmanager
async def running(
    retrieve: Callable[[Pixels], list[int]],
    decide: Callable[[list[int]], list[int]] = same,
    *,
    finishers: int = 0,
    **limits: float,
) -> AsyncIterator[Batcher]:
    model = Model(retrieve, decide)
    async with running_current(lambda: model, finishers=finishers, **limits) as batcher:
        yield batcher


@asynccontextmanager
async def running_current(current: Callable[[], Model], *, finishers: int = 0, **limits: float) -> AsyncIterator[Batcher]:
    chosen = {"batch": 4, "wait": 0.0, "admitted": 100} | limits
    limited = Limits(int(chosen["batch"]), chosen["wait"], AdmissionLimits(int(chosen["admitted"])))
    metrics = Metrics()
    batcher = Batcher(current, limited, metrics, Observers(metrics), finishers=finishers)
    batcher.start()
    try:
        yield batcher
    finally:
        await asyncio.to_thread(batcher.stop)


@hypothesis_settings(max_examples=25)
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


async def ask_three_at_a_time(batcher: Batcher, times: int) -> None:
    for _ in range(times):
        await asyncio.gather(*(answers(batcher, [image(v)]) for v in range(3)))


async def test_an_image_waits_for_others_who_came_of_late() -> None:
    echo = Echo(lambda: time.sleep(0.1))
    async with running(echo, wait=0.05, batch=8) as batcher:
        await ask_three_at_a_time(batcher, 3)
        began = time.monotonic()
        assert await answers(batcher, [image(1)]) == [1]
        assert time.monotonic() - began >= 0.15
    assert echo.sizes[-1] == 1


async def test_an_image_waits_no_longer_than_a_batch_is_worth() -> None:
    echo = Echo()
    async with running(echo, wait=1e6, batch=8) as batcher:
        await ask_three_at_a_time(batcher, 3)
        assert await asyncio.wait_for(answers(batcher, [image(1)]), 10) == [1]


async def test_callers_who_come_back_together_share_every_batch() -> None:
    echo = Echo(lambda: time.sleep(0.1))
    async with running(echo, wait=1e6, batch=8) as batcher:
        await asyncio.wait_for(ask_three_at_a_time(batcher, 8), 20)
    assert echo.sizes[3:] == [3] * (len(echo.sizes) - 3)


async def test_a_caller_alone_waits_for_nobody() -> None:
    echo = Echo()
    async with running(echo, wait=0.05, batch=8) as batcher:
        await ask_three_at_a_time(batcher, 3)
        for _ in range(2):  # the others have left, which it takes two waits to know
            await answers(batcher, [image(0)])
        began = time.monotonic()
        assert [await answers(batcher, [image(v)]) for v in range(100)] == [[v] for v in range(100)]
        assert time.monotonic() - began < 100 * 0.05
    assert echo.sizes[-100:] == [1] * 100


async def test_a_short_deadline_is_not_waited_away() -> None:
    async with running(Echo(), wait=1e6, batch=8) as batcher:
        await ask_three_at_a_time(batcher, 3)
        assert await answers(batcher, [image(1)], time.monotonic() + 2) == [1]


async def test_a_full_batch_waits_for_nobody() -> None:
    echo = Echo()
    async with running(echo, wait=1e6, batch=3) as batcher:
        found = await asyncio.wait_for(asyncio.gather(*(answers(batcher, [image(v)]) for v in range(3))), 10)
    assert found == [[0], [1], [2]]
    assert echo.sizes == [3]


async def test_room_is_bounded_and_given_back() -> None:
    async with running(Echo(), admitted=5) as batcher:
        with batcher.admit(Demand(3)), batcher.admit(Demand(2)):
            assert not batcher.idle()
            with pytest.raises(QueueFullError) as refused, batcher.admit(Demand(1)):
                pass
            assert refused.value.retry_after > 0
        with pytest.raises(ZeroDivisionError), batcher.admit(Demand(5)):
            raise ZeroDivisionError
        assert batcher.idle()


async def test_a_deadline_is_looked_at_on_admission_and_in_the_batch() -> None:
    gate, entered = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        gate.wait(10)

    echo = Echo(hold)
    async with running(echo) as batcher:
        with pytest.raises(DeadlineError), batcher.admit(Demand(1, time.monotonic() - 1)):
            pass
        first = asyncio.create_task(answers(batcher, [image(1)]))
        await asyncio.to_thread(entered.wait, 10)
        deadline = time.monotonic() + 0.01
        late = asyncio.create_task(answers(batcher, [image(2)], deadline))
        cancelled = asyncio.create_task(answers(batcher, [image(3)]))
        in_time = asyncio.create_task(answers(batcher, [image(4)], time.monotonic() + 60))
        await asyncio.sleep(0)
        await asyncio.to_thread(time.sleep, max(0, deadline - time.monotonic()) + 0.01)
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
    entered, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert go_on.wait(10)

    async with running(Echo(hold), batch=1, finishers=finishers) as batcher:
        calls = [asyncio.create_task(answers(batcher, [image(v)])) for v in range(5)]
        await asyncio.sleep(0)
        await asyncio.to_thread(entered.wait, 10)
        stopping = asyncio.create_task(asyncio.to_thread(batcher.stop))
        await asyncio.sleep(0)
        go_on.set()
        await stopping
        assert await asyncio.gather(*calls) == [[v] for v in range(5)]


def models(count: int, hold: Callable[[], object] = lambda: None) -> list[Model]:
    """Each says which it is beside what it was given: 1000 a model."""

    def of(number: int) -> Model:
        return Model(Echo(hold), lambda retrieved: [1000 * number + value for value in retrieved])

    return [of(number) for number in range(count)]


@pytest.mark.parametrize("finishers", [0, 2])
async def test_a_call_of_several_batches_stays_with_the_model_it_began_with(finishers: int) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert go_on.wait(10)

    old, new = models(2, hold)
    current = [old]
    async with running_current(lambda: current[0], finishers=finishers, batch=2) as batcher:
        first = asyncio.create_task(answers(batcher, [image(v) for v in range(5)]))
        second = asyncio.create_task(answers(batcher, [image(9)]))
        await asyncio.to_thread(entered.wait, 10)
        current[0] = new
        go_on.set()
        assert await asyncio.wait_for(first, 10) == [0, 1, 2, 3, 4]
        assert await asyncio.wait_for(second, 10) == [1009]
    # The old model's last batch had room for one more, which was not let in: it would have kept the old model in use.
    assert old.retrieve.sizes == [2, 2, 1]
    assert new.retrieve.sizes == [1]


@pytest.mark.parametrize("finishers", [0, 2])
async def test_every_call_is_of_one_model_while_models_change(finishers: int) -> None:
    several = models(50)
    served = iter(several)
    current = [next(served)]

    def change() -> None:
        current[0] = next(served, several[-1])

    for model in several:
        model.retrieve = Echo(change)  # each batch publishes the next
    async with running_current(lambda: current[0], finishers=finishers, batch=4) as batcher:
        calls = [[(7 * n + place) % 250 for place in range(n % 11)] for n in range(60)]
        found = await asyncio.gather(*(answers(batcher, [image(v) for v in call]) for call in calls))
    assert [[value % 1000 for value in call] for call in found] == calls
    used = [{value // 1000 for value in call} for call in found if call]
    assert all(len(numbers) == 1 for numbers in used)
    assert len(set.union(*used)) > 10


class BrokenObservers(Observers):
    """What looks at answers fails, in a way that nobody has foreseen."""

    def answered(self, *_: object) -> None:
        raise KeyError("nobody has foreseen this")


@pytest.mark.parametrize("finishers", [0, 1])
async def test_nothing_ends_the_threads_of_the_engine(finishers: int) -> None:
    metrics, model = Metrics(), Model(Echo(), same)
    batcher = Batcher(
        lambda: model, Limits(4, 0.0, AdmissionLimits(100)), metrics, BrokenObservers(metrics), finishers=finishers
    )
    batcher.start()
    try:
        for value in range(3):
            assert await asyncio.wait_for(answers(batcher, [image(value)]), 10) == [value]
        assert batcher.alive()
    finally:
        assert await asyncio.to_thread(batcher.stop)


@pytest.mark.parametrize("half", ["retrieve", "decide"])
async def test_nobody_waits_for_a_batch_that_failed(half: str) -> None:
    def failing(_: object) -> list[int]:
        raise RuntimeError("no memory")

    halves = {"retrieve": Echo(), "decide": same} | {half: failing}
    async with running(**halves) as batcher:
        with pytest.raises(EngineError):
            await asyncio.wait_for(answers(batcher, [image(1)]), 10)
        later = time.monotonic() + 1000
        wait = batcher.backlog().seconds_until(later, 1, own=0, undecoded=0, decoding=0.0)
        assert wait < 1
