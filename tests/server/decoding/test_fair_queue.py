import asyncio
import time
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from holdfast.server.decoding.fair_queue import FairQueue
from holdfast.server.decoding.turns import LoopTurns

ITEMS = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.001, 1), st.integers(0, 1)), max_size=40)


@given(ITEMS)
def test_all_that_was_added_comes_out_once_and_each_caller_s_in_order(items: list[tuple[str, float, int]]) -> None:
    queue: FairQueue[tuple[int, str, int]] = FairQueue(lanes=2)
    for number, (caller, cost, lane) in enumerate(items):
        queue.push((number, caller, lane), caller, cost, lane)
    assert len(queue) == len(items)
    taken = []
    while (item := queue.pop()) is not None:
        taken.append(item)
    assert sorted(taken) == sorted((number, caller, lane) for number, (caller, _, lane) in enumerate(items))
    for caller in "abc":
        numbers = [number for number, whose, _ in taken if whose == caller]
        assert numbers == sorted(numbers)


@given(st.lists(st.floats(0.1, 1), min_size=1, max_size=10), st.lists(st.floats(0.1, 1), min_size=1, max_size=30))
def test_callers_who_wait_get_equal_shares(ours: list[float], theirs: list[float]) -> None:
    queue: FairQueue[tuple[str, float]] = FairQueue()
    for caller, costs in (("theirs", theirs), ("ours", ours)):
        for cost in costs:
            queue.push((caller, cost), caller, cost)
    spent: Counter[str] = Counter()
    left = Counter(ours=len(ours), theirs=len(theirs))
    while min(left.values()) > 0:
        caller, cost = queue.pop() or ("", 0.0)
        spent[caller] += cost
        left[caller] -= 1
        assert abs(spent["ours"] - spent["theirs"]) <= 2  # an item of each


def test_a_caller_who_was_away_has_saved_nothing_up_and_a_late_cost_counts() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(100):
        queue.push("busy", "busy", 1.0)
    assert [queue.pop() for _ in range(50)] == 50 * ["busy"]
    for _ in range(100):
        queue.push("back", "back", 1.0)
    assert 45 < [queue.pop() for _ in range(100)].count("back") < 55
    queue.charge("back", 20.0)
    queue.push("late", "back", 1.0)
    assert [queue.pop() for _ in range(10)].count("late") == 0


def test_who_wants_one_lane_gets_nothing_of_the_other() -> None:
    queue: FairQueue[str] = FairQueue(lanes=2)
    queue.push("long", "a", 1.0, lane=1)
    assert queue.pop(lanes=1) is None
    queue.push("short", "b", 1.0)
    assert queue.pop(lanes=1) == "short"
    assert queue.pop() == "long"
    assert queue.pop() is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 8e-3), st.booleans()), max_size=25))
async def test_every_turn_comes(turns_taken: list[tuple[str, float, bool]]) -> None:
    turns = LoopTurns(1e-3)

    async def work(caller: str, seconds: float, slow: bool) -> None:
        await turns.take(caller, seconds)
        end = time.perf_counter() + (2e-3 if slow else 0.0)
        while time.perf_counter() < end:
            pass

    async with asyncio.timeout(10):
        await asyncio.gather(*(work(*each) for each in turns_taken))
        for caller, seconds, slow in turns_taken:
            await work(caller, seconds, slow)


async def test_work_that_takes_longer_than_expected_ends_its_slice() -> None:
    turns, looked, working = LoopTurns(2e-3), 0, 60

    async def work() -> None:
        nonlocal working
        await turns.take("a", 2.5e-4)
        end = time.perf_counter() + 1e-3
        while time.perf_counter() < end:
            pass
        working -= 1

    async def look() -> None:
        nonlocal looked
        while working:
            looked += 1
            await asyncio.sleep(0)

    await asyncio.gather(*(work() for _ in range(working)), look())
    assert looked > 15  # by what was expected there would be 8 slices


async def test_the_loop_has_time_for_others_while_many_take_their_turns() -> None:
    turns, ended = LoopTurns(0.01), []
    looked = 0

    async def caller(name: str, count: int) -> None:
        async def one() -> None:
            await turns.take(name, 0.005)

        await asyncio.gather(*(one() for _ in range(count)))
        ended.append((name, looked))

    async def look() -> None:
        nonlocal looked
        while len(ended) < 2:
            looked += 1
            await asyncio.sleep(0)

    await asyncio.gather(caller("greedy", 400), caller("modest", 4), look())
    assert [name for name, _ in ended] == ["modest", "greedy"]
    assert ended[0][1] < 20  # turns of the loop
    assert looked > 150
