"""Workers' backends over real socket pairs, against one batcher: the queue is one, and each call is its own."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from socket import socketpair

import numpy as np
import pytest

from holdfast.model.answers import Answers, Neighbours
from holdfast.model.preprocess import Pixels
from holdfast.server.core.batching import Batcher, Limits
from holdfast.server.core.errors import DeadlineError, DrainingError, EngineError, EngineGoneError, QueueFullError
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.observers import ObservedBatch, Observer, Observers
from holdfast.server.core.request import CANARY, EMBEDDINGS, LABELS, NO_DEADLINE, CallKind, Images, Want
from holdfast.server.core.result import Answer, AnsweredBatch
from holdfast.server.core.scheduling.admission import AdmissionLimits, Demand
from holdfast.server.decoding.turns import SLICE_S, LoopTurns
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.workers.known_models import MOST_MODELS
from holdfast.server.workers.remote_backend import RemoteBackend
from holdfast.server.workers.worker_connection import BacklogAnnouncer, WorkerConnection
from tests.server.described import described

SHAPE = (2, 2, 3)
CLASSES, DIM, K = 256, 6, 4


def image(value: int) -> Pixels:
    return np.full(SHAPE, value, dtype=np.uint8)


def answers_of(images: Pixels, classes: int = CLASSES) -> Answers:
    """An image's label is its value, and everything else follows from it."""
    values = images[:, 0, 0, 0].astype(np.int64)
    count = len(values)
    return Answers(
        embeddings=np.repeat(values[:, None], DIM, axis=1).astype(np.float32),
        labels=values,
        probabilities=np.eye(classes, dtype=np.float32)[values],
        credibility=np.full(count, np.nan),
        confidence=np.full(count, np.nan),
        abstain=values % 2 == 0,
        soft_margin=values.astype(np.float32) / 2,
        kth_distance=values.astype(np.float32) / 4,
        kth_distance_p_value=np.full(count, np.nan),
        softmax_response=values.astype(np.float32) / 256,
        poison_tolerance=values,
        feature_shift=values / 8,
        neighbours=Neighbours(
            values[:, None] * 10 + np.arange(K),
            np.repeat(values[:, None], K, axis=1),
            np.zeros((count, K), dtype=np.float32),
        ),
    )


@dataclass(eq=False)
class Model:
    """Stands in for a snapshot."""

    version: int = 1
    classes: int = CLASSES
    before: Callable[[Pixels], object] = lambda images: None

    def __post_init__(self) -> None:
        names = tuple(f"v{self.version}-{n}" for n in range(self.classes))
        self.description = described(version=self.version, shape=SHAPE, class_names=names)

    def retrieve(self, images: Pixels) -> Pixels:
        self.before(images)
        return images

    def decide(self, images: Pixels) -> AnsweredBatch:
        return AnsweredBatch(self.description, answers_of(images, self.classes))


@dataclass
class Gate:
    """Holds the model where it is shut, and remembers the sizes of its batches."""

    entered: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)
    sizes: list[int] = field(default_factory=list)

    def __call__(self, images: Pixels) -> None:
        self.sizes.append(len(images))
        self.entered.set()
        assert self.open.wait(20)
        if images.max() == 13:
            raise RuntimeError("unlucky")


class Seen(Observer):
    name = "seen"

    def __init__(self) -> None:
        self.images: list[tuple[int, int, float, str]] = []

    def observe(self, batch: ObservedBatch) -> None:
        columns = (batch.images[:, 0, 0, 0].tolist(), batch.answers.labels.tolist(), batch.answers.soft_margin.tolist())
        self.images += zip(*columns, batch.callers, strict=True)


@dataclass
class Setup:
    """One batcher, and the workers' ends of the links to it."""

    batcher: Batcher
    holder: ModelHolder
    workers: list[RemoteBackend]
    lost: list[asyncio.Event]
    metrics: Metrics
    seen: Seen

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def setup(
    before: Callable[[Pixels], object] = lambda images: None, workers: int = 2, slice_s: float = SLICE_S, **limits: float
) -> AsyncIterator[Setup]:
    chosen = {"batch": 4, "wait": 0.0, "admitted": 100} | limits
    metrics, seen = Metrics(), Seen()
    holder = ModelHolder(Model(before=before))  # type: ignore[arg-type]
    observers = Observers(metrics)
    observers.add(seen)
    limited = Limits(int(chosen["batch"]), chosen["wait"], AdmissionLimits(int(chosen["admitted"])))

    batcher = Batcher(lambda: holder.current, limited, metrics, observers)
    batcher.start()
    backlogs, turns = BacklogAnnouncer(batcher), LoopTurns(slice_s)
    made = Setup(batcher, holder, [], [], metrics, seen)
    for number in range(workers):
        near, far = socketpair()
        lost = asyncio.Event()
        worker = RemoteBackend(AdmissionLimits(int(chosen["admitted"])), Metrics(engine=False), lost.set)
        await WorkerConnection(f"worker-{number}", batcher, holder, 50, backlogs, turns=turns).open(near)
        await asyncio.wait_for(worker.open(far), 5)
        made.workers.append(worker)
        made.lost.append(lost)
    try:
        yield made
    finally:
        for worker, lost in zip(made.workers, made.lost, strict=True):
            worker.close()
            await asyncio.wait_for(lost.wait(), 5)
        await asyncio.to_thread(batcher.stop)


async def ask(
    worker: RemoteBackend, images: Images, deadline: float = NO_DEADLINE, want: Want = LABELS, caller: str = ""
) -> list[Answer]:
    slices = await worker.submit(images, deadline, want, caller)
    return [answer for part in slices for answer in part.batch.one_by_one[part.start : part.stop]]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - other people's counts
            await asyncio.sleep(0.002)


async def test_answers_that_wait_for_their_turn_come_all_the_same() -> None:
    calls = [[(7 * call + place) % 250 for place in range(1 + call % 11)] for call in range(40)]
    want = Want(CallKind.EMBED, neighbours=K)
    async with setup(slice_s=1e-9, batch=64, admitted=1000) as made:  # each answer takes longer than a slice
        asked = [ask(made.workers[n % 2], [image(v) for v in call], want=want) for n, call in enumerate(calls)]
        found = await asyncio.gather(*asked)
    assert [[answer.label for answer in answers] for answers in found] == calls
    assert all(answer.embedding[0] == answer.label for answers in found for answer in answers)


async def test_every_worker_gets_its_own_answers_in_order() -> None:
    calls = [[(7 * call + place) % 250 for place in range(call % 11)] for call in range(60)]
    async with setup(workers=3, batch=8, admitted=1000) as made:
        found = await asyncio.gather(*(ask(made.workers[n % 3], [image(v) for v in call]) for n, call in enumerate(calls)))
        assert [[answer.label for answer in answers] for answers in found] == calls
        assert made.batcher.idle()
        assert all(worker.last_success > 0 for worker in made.workers)
        assert made.sample("holdfast_batch_images_sum") == sum(map(len, calls))
        assert made.sample("holdfast_batch_images_count") < sum(map(bool, calls))  # they shared batches
    for answer in (answer for answers in found for answer in answers):
        assert answer.probabilities[answer.label] == 1
        assert (answer.abstain, answer.soft_margin) == (answer.label % 2 == 0, answer.label / 2)
        assert not answer.neighbours(K)
        assert answer.embedding.shape == (0,)


async def test_embeddings_and_neighbours_come_where_they_are_wanted() -> None:
    async with setup() as made:
        images = np.stack([image(v) for v in (3, 5, 9, 11, 250)])  # more than a batch
        near = await ask(made.workers[0], images, want=Want(CallKind.CLASSIFY, 2))
        all_near = await ask(made.workers[1], images, want=Want(CallKind.CLASSIFY, 1000))
        embedded = await ask(made.workers[0], images, want=EMBEDDINGS)
    assert [[n.id for n in answer.neighbours(9)] for answer in near] == [[v * 10, v * 10 + 1] for v in (3, 5, 9, 11, 250)]
    assert [len(answer.neighbours(9)) for answer in all_near] == [K] * 5
    assert [answer.embedding.tolist() for answer in embedded] == [[float(v)] * DIM for v in (3, 5, 9, 11, 250)]


async def test_the_queue_is_bounded_over_all_workers() -> None:
    gate = Gate()
    async with setup(gate, admitted=4, batch=1) as made:
        one, other = made.workers
        waiting = [asyncio.create_task(ask(one, [image(1)] * 3)), asyncio.create_task(ask(other, [image(2)]))]
        await until(lambda: made.batcher.admission.admitted == 4)
        with pytest.raises(QueueFullError) as refused:
            await ask(other, [image(3)])
        assert refused.value.retry_after >= 0.01
        assert made.sample("holdfast_refused_images_total", reason="queue") == 1
        canary = asyncio.create_task(ask(other, [image(4)], want=CANARY))  # a full queue is not ill
        gate.open.set()
        assert [answer.label for task in (*waiting, canary) for answer in await task] == [1, 1, 1, 2, 4]
        assert [answer.label for answer in await ask(other, [image(3)])] == [3]


async def test_a_worker_bounds_its_own_before_they_are_decoded() -> None:
    async with setup(admitted=4) as made:
        (worker, _) = made.workers
        with worker.admit(Demand(3)):
            assert not worker.idle()
            with pytest.raises(QueueFullError), worker.admit(Demand(2)):
                pass
            with pytest.raises(DeadlineError), worker.admit(Demand(1, time.monotonic() - 1)):
                pass
        assert worker.idle()


async def test_late_and_cancelled_images_never_reach_the_model() -> None:
    gate = Gate()
    async with setup(gate, batch=1) as made:
        worker = made.workers[0]
        first = asyncio.create_task(ask(worker, [image(1)]))
        await asyncio.to_thread(gate.entered.wait, 10)
        deadline = time.monotonic() + 0.05
        late = asyncio.create_task(ask(worker, [image(2)], deadline))
        left = asyncio.create_task(ask(worker, [image(3)] * 2))
        await until(lambda: made.batcher.admission.admitted == 4)
        left.cancel()
        await until(lambda: made.batcher.admission.admitted == 2)
        with pytest.raises(DeadlineError):
            await ask(worker, [image(5)], time.monotonic() - 1)
        await until(lambda: time.monotonic() > deadline)
        gate.open.set()
        assert [answer.label for answer in await first] == [1]
        with pytest.raises(DeadlineError):
            await late
        assert [answer.label for answer in await ask(worker, [image(4)])] == [4]
        assert gate.sizes == [1, 1]
        assert made.sample("holdfast_cancelled_images_total") == 2
        assert made.sample("holdfast_late_images_total") == 1


async def test_a_model_that_fails_fails_its_batch_alone() -> None:
    gate = Gate()
    gate.open.set()
    async with setup(gate, batch=1) as made:
        outcomes = await asyncio.gather(
            *(ask(f, [image(v)]) for f, v in zip(made.workers, (12, 13), strict=True)), return_exceptions=True
        )
        assert isinstance(outcomes[1], EngineError)
        assert outcomes[0][0].label == 12  # type: ignore[index]
        assert made.batcher.idle()


async def test_a_worker_that_is_gone_leaves_nothing_in_the_queue() -> None:
    gate = Gate()
    async with setup(gate, batch=1) as made:
        gone, stays = made.workers
        first = asyncio.create_task(ask(stays, [image(1)]))
        await asyncio.to_thread(gate.entered.wait, 10)
        theirs = asyncio.create_task(ask(gone, [image(2)] * 9))
        await until(lambda: made.batcher.admission.admitted == 10)
        gone.close()
        with pytest.raises(EngineGoneError):
            await theirs
        await until(lambda: made.batcher.admission.admitted == 1)
        assert not gone.alive()
        with pytest.raises(EngineGoneError):
            await ask(gone, [image(2)])
        gate.open.set()
        assert (await first)[0].label == 1
        assert (await ask(stays, [image(3)]))[0].label == 3
        assert gate.sizes == [1, 1]


async def test_an_engine_that_is_going_down_says_so() -> None:
    async with setup() as made:
        await asyncio.to_thread(made.batcher.stop)
        with pytest.raises(DrainingError):
            await ask(made.workers[0], [image(1)])


async def test_what_was_classified_is_observed_with_its_caller_and_nothing_else() -> None:
    async with setup() as made:
        one, other = made.workers
        await ask(one, [image(v) for v in (10, 20, 30, 40, 50)], caller="10.0.0.7")
        await ask(other, [image(60)], caller="2001:db8::1")
        await ask(one, [image(70)], want=EMBEDDINGS)
        await ask(one, [image(80)], want=CANARY)
        await ask(one, [image(90)])
        await until(lambda: len(made.seen.images) == 7)
    expected = [(v, v, v / 2, "10.0.0.7") for v in (10, 20, 30, 40, 50)]
    assert made.seen.images == [*expected, (60, 60, 30.0, "2001:db8::1"), (90, 90, 45.0, "")]


async def test_a_batch_of_everything_is_observed_where_it_was_classified() -> None:
    gate = Gate()
    async with setup(gate, batch=8) as made:
        worker = made.workers[0]
        first = asyncio.create_task(ask(worker, [image(1)], caller="a"))
        await asyncio.to_thread(gate.entered.wait, 10)
        wants = [(2, EMBEDDINGS, "b"), (3, LABELS, "c"), (4, CANARY, ""), (5, Want(neighbours=2), "d")]
        rest = [asyncio.create_task(ask(worker, [image(v)] * 2, want=want, caller=who)) for v, want, who in wants]
        await until(lambda: made.sample("holdfast_queue_images") == 8)
        gate.open.set()
        await asyncio.gather(first, *rest)
        await until(lambda: len(made.seen.images) == 5)
    assert gate.sizes == [1, 8]
    assert [(value, who) for value, _, _, who in made.seen.images] == [(1, "a"), (3, "c"), (3, "c"), (5, "d"), (5, "d")]


async def test_a_worker_hears_of_each_model_before_its_answers() -> None:
    async with setup() as made:
        worker = made.workers[0]
        for version in range(2, 3 * MOST_MODELS):
            classes = 100 + version
            await asyncio.to_thread(made.holder.publish, Model(version, classes))
            slices = await worker.submit([image(v) for v in (3, 5, 7, 9, 11)])
            for part in slices:
                assert part.batch.model.version == version
                assert part.batch.model.class_names[3] == f"v{version}-3"
                assert part.batch.answers.probabilities.shape[1] == classes
            await until(lambda version=version: all(each.description.version == version for each in made.workers))


async def test_calls_under_way_keep_their_model() -> None:
    gate = Gate()
    async with setup(gate, batch=2) as made:
        one, other = made.workers
        first = asyncio.create_task(one.submit([image(v) for v in range(5)]))
        await asyncio.to_thread(gate.entered.wait, 10)
        made.holder.publish(Model(2, classes=30))
        second = asyncio.create_task(other.submit([image(9)]))
        await until(lambda: one.description.version == 2)
        gate.open.set()
        assert {part.batch.model.version for part in await first} == {1}
        assert {part.batch.model.version for part in await second} == {2}


async def test_images_of_another_shape_close_the_link() -> None:
    async with setup() as made:
        with pytest.raises(EngineGoneError):
            await ask(made.workers[0], [np.zeros((3, 3, 3), dtype=np.uint8)])
        assert (await ask(made.workers[1], [image(1)]))[0].label == 1
