"""Who is next: the queue alone, by counts and without a clock."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from holdfast.server.core.request import LABELS, NO_DEADLINE
from holdfast.server.core.scheduling.queue import MOST_REMEMBERED, Call, Cut, RequestQueue, Room

MODEL: Any = SimpleNamespace(name="current")
BATCH, SHORT = 16, 8


class Future:
    """As much of one as the queue looks at."""

    def __init__(self) -> None:
        self.over = False

    def done(self) -> bool:
        return self.over


def call(caller: str, images: int, deadline: float = NO_DEADLINE, at: float = 0.0) -> Call:
    pixels = np.zeros((images, 1, 1, 3), dtype=np.uint8)
    return Call(Future(), pixels, deadline, LABELS, caller, at, images)  # type: ignore[arg-type]


def room(images: int = BATCH, shared: int = SHORT, ready: float = 0.0) -> Room:
    return Room(images, shared, ready)


def served(cut: Cut) -> Counter[str]:
    counts: Counter[str] = Counter()
    for piece in cut.pieces:
        counts[piece.call.caller] += piece.count
    return counts


calls = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 40)), min_size=1, max_size=30)


@given(calls, st.integers(1, 20), st.integers(1, 20))
def test_every_image_is_in_one_batch_and_in_order(asked: list[tuple[str, int]], batch: int, shared: int) -> None:
    queue, all_calls = RequestQueue(), [call(*each) for each in asked]
    for each in all_calls:
        queue.append(each)
    taken: dict[int, list[tuple[int, int]]] = {id(each): [] for each in all_calls}
    order: dict[str, list[int]] = {}
    while queue.images:
        cut = queue.cut(room(batch, min(batch, shared)), MODEL)
        assert 0 < cut.images <= batch
        assert cut.images == sum(piece.count for piece in cut.pieces)
        for piece in cut.pieces:
            taken[id(piece.call)].append((piece.start, piece.count))
            order.setdefault(piece.call.caller, []).append(id(piece.call))
    assert queue.callers == 0
    for each in all_calls:
        starts = [start for start, _ in taken[id(each)]]
        assert starts == sorted(starts)
        assert sum(count for _, count in taken[id(each)]) == len(each.images)
    for caller, numbers in order.items():  # a caller's calls do not overtake one another
        assert list(dict.fromkeys(numbers)) == [id(each) for each in all_calls if each.caller == caller]


@given(st.integers(2, 12), st.integers(1, 64), st.integers(1, 64), st.data())
def test_callers_who_always_have_more_get_the_same(callers: int, batch: int, shared: int, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 300), min_size=callers, max_size=callers))
    queue, total, part = RequestQueue(), Counter[str](), max(1, batch // callers)
    for _ in range(60):
        for number, size in enumerate(sizes):
            while sum(each.left for each in queued(queue, str(number))) < batch:
                queue.append(call(str(number), size))
        cut = queue.cut(room(batch, min(batch, shared)), MODEL)
        total += served(cut)
        counts = [total[str(number)] for number in range(callers)]
        assert max(counts) - min(counts) <= batch + part


def queued(queue: RequestQueue, caller: str) -> list[Call]:
    flow = queue._flows.get(caller)
    return list(flow.calls) if flow else []


@hypothesis_settings(max_examples=30)
@given(st.dictionaries(st.sampled_from("abcd"), st.sampled_from([1.0, 2.0, 3.0]), min_size=2))
def test_weights_are_shares(weights: dict[str, float]) -> None:
    queue, total = RequestQueue(lambda key: weights[key]), Counter[str]()
    for caller in weights:
        queue.append(call(caller, 3000))
    for _ in range(100):
        total += served(queue.cut(room(BATCH, BATCH), MODEL))
    each = [total[caller] / weight for caller, weight in weights.items()]
    assert max(each) - min(each) <= BATCH


def latencies(few: int, many: int) -> tuple[list[int], int]:
    """Images that the engine works on while each call of one image waits, beside so many callers of 256; and all it did."""
    queue, waits, done = RequestQueue(), [], 0
    asked: Call | None = None
    since = 0
    for number in range(many):
        queue.append(call(f"many {number}", 256))
    for _ in range(400):
        for number in range(many):
            if len(queued(queue, f"many {number}")) < 2:
                queue.append(call(f"many {number}", 256))
        if few and asked is None:
            asked, since = call("few", 1), done
            queue.append(asked)
        cut = queue.cut(room(64, 12), MODEL)
        done += cut.images
        if asked is not None and not asked.left:
            waits.append(done - since)
            asked = None
    return waits, done


def test_a_caller_of_few_images_waits_for_one_short_batch_of_the_others() -> None:
    """Eight callers of 256 images beside one of a single image: an image waits for 12 others, not for 2,048, nor for 64."""
    waits, done = latencies(few=1, many=8)
    assert max(waits[1:]) <= 12 + 1
    # And the others are not starved by that: the ninth caller has no more than a ninth.
    assert len(waits) <= done / 9 + 64


def test_batches_are_whole_where_nobody_with_few_images_waits() -> None:
    _, done = latencies(few=0, many=8)
    assert done == 400 * 64


def test_newcomers_without_end_keep_nobody_waiting() -> None:
    """Each batch could be filled with callers who were never seen before; the old one is served all the same."""
    queue, total = RequestQueue(), Counter[str]()
    queue.append(call("old", 300))
    for number in range(200):
        for new in range(BATCH):
            queue.append(call(f"new {number} {new}", 1))
        total += served(queue.cut(room(), MODEL))
    # Those who wait become more and more, so its part becomes less; but it is served throughout.
    assert total["old"] >= 20


def test_who_asks_a_little_at_a_time_gets_no_more() -> None:
    """One always has a long queue; the other asks for 8 images whenever it has none, which is more than its part."""
    queue, total = RequestQueue(), Counter[str]()
    for _ in range(200):
        if queued(queue, "long") == [] or queue.images < 64:
            queue.append(call("long", 64))
        if not queued(queue, "bursts"):
            queue.append(call("bursts", 8))
        total += served(queue.cut(room(8, 8), MODEL))
    assert total["long"] >= 0.45 * total.total()


def test_what_is_remembered_of_callers_is_bounded() -> None:
    queue = RequestQueue()
    for number in range(2 * MOST_REMEMBERED):
        queue.append(call("always", 64))
        queue.append(call(f"{number}", 3))
        queue.cut(room(), MODEL)
    assert queue.remembered <= MOST_REMEMBERED
    while queue.images:
        queue.cut(room(), MODEL)
    assert (queue.callers, queue.remembered) == (0, 0)


@given(calls, st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29)))
def test_what_is_late_or_left_takes_no_room(asked: list[tuple[str, int]], gone: set[int], late: set[int]) -> None:
    queue = RequestQueue()
    all_calls = [call(*each, deadline=1.0 if n in late else 9.0) for n, each in enumerate(asked)]
    for each in all_calls:
        queue.append(each)
    for number, each in enumerate(all_calls):
        if number in gone:
            each.future.over = True  # type: ignore[attr-defined]
    cuts: list[Cut] = []
    while queue.images:
        cuts.append(queue.cut(room(ready=5.0), MODEL))
    wanted = [each for n, each in enumerate(all_calls) if n not in gone | late]
    assert sum(cut.images for cut in cuts) == sum(len(each.images) for each in wanted)
    # Batches are full as long as there is something to fill them with.
    if len({caller for caller, _ in asked}) == 1:
        assert all(cut.images == BATCH or cut is cuts[-1] for cut in cuts if cut.images > SHORT)
    dropped = {id(each) for cut in cuts for each in (*cut.late, *cut.gone)}
    assert dropped == {id(each) for each in all_calls} - {id(each) for each in wanted}


def test_a_call_that_is_taken_back_leaves_the_others_in_order() -> None:
    queue, first, second, third = RequestQueue(), call("a", 3), call("a", 4), call("b", 5)
    for each in (first, second, third):
        queue.append(each)
    assert queue.remove(second) == 4
    assert queue.remove(second) == 0
    assert queue.images == 8
    assert {id(piece.call) for piece in queue.cut(room(BATCH, BATCH), MODEL).pieces} == {id(first), id(third)}
    assert queue.remove(first) == 0
    assert (queue.images, queue.callers) == (0, 0)


@pytest.mark.parametrize("caller", ["10.0.0.1", "2001:db8::1"])
def test_a_call_that_has_begun_with_another_model_is_alone(caller: str) -> None:
    queue, begun = RequestQueue(), call(caller, 20)
    queue.append(begun)
    queue.cut(room(), MODEL)
    queue.append(call("other", 1))
    new: Any = SimpleNamespace(name="new")
    cut = queue.cut(room(), new)
    assert cut.model is MODEL
    assert [(piece.call is begun, piece.count) for piece in cut.pieces] == [(True, 4)]
    assert queue.cut(room(), new).model is new


def test_addresses_of_one_ipv6_network_are_one_caller() -> None:
    queue = RequestQueue()
    for number in range(100):
        queue.append(call(f"2001:db8:1:2::{number:x}", 10))
    queue.append(call("192.0.2.1", 500))
    total = Counter[str]()
    for _ in range(10):
        total += served(queue.cut(room(BATCH, BATCH), MODEL))
    assert total["192.0.2.1"] == total.total() / 2
