"""Workers' engines over real socket pairs, against one batcher: the queue is one, and each call is its own."""

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
from holdfast.server.core.request import CANARY, LABELS, NO_DEADLINE, Images, Kind, Wanted
from holdfast.server.core.result import Answer, Batch
from holdfast.server.monitor.metrics import Metrics
from holdfast.server.workers.remote_backend import RemoteEngine
from holdfast.server.workers.worker_connection import WorkerConnection

SHAPE = (2, 2, 3)
CLASSES, DIM, K = 256, 6, 4


def image(value: int) -> Pixels:
    return np.full(SHAPE, value, dtype=np.uint8)


def model(images: Pixels) -> Batch:
    """Its label is an image's value, and everything else follows from it."""
    values = images[:, 0, 0, 0].astype(np.int64)
    count = len(values)
    return Batch(
        Answers(
            embeddings=np.repeat(values[:, None], DIM, axis=1).astype(np.float32),
            labels=values,
            probabilities=np.eye(CLASSES, dtype=np.float32)[values],
            credibility=np.full(count, np.nan),
            confidence=np.full(count, np.nan),
            abstain=values % 2 == 0,
            soft_margin=values.astype(np.float32) / 2,
            kth_distance=values.astype(np.float32) / 4,
            neighbours=Neighbours(
                values[:, None] * 10 + np.arange(K),
                np.repeat(values[:, None], K, axis=1),
                np.zeros((count, K), dtype=np.float32),
            ),
        )
    )


@dataclass
class Gate:
    """Holds the model where it is shut, and remembers the sizes of its batches."""

    entered: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)
    sizes: list[int] = field(default_factory=list)

    def __call__(self, images: Pixels) -> Batch:
        self.sizes.append(len(images))
        self.entered.set()
        assert self.open.wait(20)
        if images.max() == 13:
            raise RuntimeError("unlucky")
        return model(images)


@dataclass
class Offered:
    seen: list[tuple[int, int, float]] = field(default_factory=list)

    def offer(self, image: Pixels, label: int, soft_margin: float) -> None:
        self.seen.append((int(image[0, 0, 0]), label, soft_margin))


@dataclass
class House:
    """One batcher, and the workers' ends of the links to it."""

    batcher: Batcher[Batch, Batch]
    desks: list[WorkerConnection]
    workers: list[RemoteEngine]
    lost: list[asyncio.Event]
    metrics: Metrics
    offered: Offered

    def sample(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0


@asynccontextmanager
async def house(run: Callable[[Pixels], Batch] = model, workers: int = 2, **limits: float) -> AsyncIterator[House]:
    chosen = {"batch": 4, "wait": 0.0, "admitted": 100} | limits
    metrics, offered = Metrics(), Offered()
    limits = Limits(int(chosen["batch"]), chosen["wait"], int(chosen["admitted"]))
    batcher = Batcher(run, lambda batch: batch, limits, metrics)
    batcher.start()
    made = House(batcher, [], [], [], metrics, offered)
    for number in range(workers):
        near, far = socketpair()
        lost = asyncio.Event()
        desk = WorkerConnection(f"worker-{number}", batcher, offered, SHAPE, 50)
        worker = RemoteEngine(int(chosen["admitted"]), CLASSES, Metrics(engine=False), lost.set)
        await desk.open(near)
        await worker.open(far)
        made.desks.append(desk)
        made.workers.append(worker)
        made.lost.append(lost)
    try:
        yield made
    finally:
        for worker, lost in zip(made.workers, made.lost, strict=True):
            worker.close()
            await asyncio.wait_for(lost.wait(), 5)
        await asyncio.to_thread(batcher.stop)


async def ask(worker: RemoteEngine, images: Images, deadline: float = NO_DEADLINE, wanted: Wanted = LABELS) -> list[Answer]:
    shares = await worker.submit(images, deadline, wanted)
    return [answer for share in shares for answer in share.batch.one_by_one[share.start : share.stop]]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - other people's counts
            await asyncio.sleep(0.002)


async def test_every_worker_gets_its_own_answers_in_order() -> None:
    calls = [[(7 * call + place) % 250 for place in range(call % 11)] for call in range(60)]
    async with house(workers=3, batch=8, admitted=1000) as made:
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
    async with house() as made:
        images = np.stack([image(v) for v in (3, 5, 9, 11, 250)])  # more than a batch
        near = await ask(made.workers[0], images, wanted=Wanted(Kind.CLASSIFY, 2))
        all_near = await ask(made.workers[1], images, wanted=Wanted(Kind.CLASSIFY, 1000))
        embedded = await ask(made.workers[0], images, wanted=Wanted(Kind.EMBED))
    assert [[n.id for n in answer.neighbours(9)] for answer in near] == [[v * 10, v * 10 + 1] for v in (3, 5, 9, 11, 250)]
    assert [len(answer.neighbours(9)) for answer in all_near] == [K] * 5
    assert [answer.embedding.tolist() for answer in embedded] == [[float(v)] * DIM for v in (3, 5, 9, 11, 250)]


async def test_the_queue_is_bounded_over_all_workers() -> None:
    gate = Gate()
    async with house(gate, admitted=4, batch=1) as made:
        one, other = made.workers
        waiting = [asyncio.create_task(ask(one, [image(1)] * 3)), asyncio.create_task(ask(other, [image(2)]))]
        await until(lambda: made.batcher.admission.admitted == 4)
        with pytest.raises(QueueFullError) as refused:
            await ask(other, [image(3)])
        assert refused.value.retry_after >= 0.01
        assert made.sample("holdfast_refused_images_total") == 1
        canary = asyncio.create_task(ask(other, [image(4)], wanted=CANARY))  # a full queue is not ill
        gate.open.set()
        assert [answer.label for task in (*waiting, canary) for answer in await task] == [1, 1, 1, 2, 4]
        assert [answer.label for answer in await ask(other, [image(3)])] == [3]


async def test_a_worker_bounds_its_own_before_they_are_decoded() -> None:
    async with house(admitted=4) as made:
        (worker, _) = made.workers
        with worker.admit(3):
            assert not worker.idle()
            with pytest.raises(QueueFullError), worker.admit(2):
                pass
            with pytest.raises(DeadlineError), worker.admit(1, time.monotonic() - 1):
                pass
        assert worker.idle()


async def test_late_and_cancelled_images_never_reach_the_model() -> None:
    gate = Gate()
    async with house(gate, batch=1) as made:
        worker = made.workers[0]
        first = asyncio.create_task(ask(worker, [image(1)]))
        await asyncio.to_thread(gate.entered.wait, 10)
        late = asyncio.create_task(ask(worker, [image(2)], time.monotonic() + 0.05))
        left = asyncio.create_task(ask(worker, [image(3)] * 2))
        await until(lambda: made.batcher.admission.admitted == 4)
        left.cancel()
        await until(lambda: made.batcher.admission.admitted == 2)
        with pytest.raises(DeadlineError):
            await ask(worker, [image(5)], time.monotonic() - 1)
        await asyncio.sleep(0.06)
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
    async with house(gate, batch=1) as made:
        outcomes = await asyncio.gather(
            *(ask(f, [image(v)]) for f, v in zip(made.workers, (12, 13), strict=True)), return_exceptions=True
        )
        assert isinstance(outcomes[1], EngineError)
        assert outcomes[0][0].label == 12  # type: ignore[index]
        assert made.batcher.idle()


async def test_a_worker_that_is_gone_leaves_nothing_in_the_queue() -> None:
    gate = Gate()
    async with house(gate, batch=1) as made:
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
    async with house() as made:
        await asyncio.to_thread(made.batcher.stop)
        with pytest.raises(DrainingError):
            await ask(made.workers[0], [image(1)])


async def test_the_prober_is_offered_what_was_classified_and_nothing_else() -> None:
    async with house() as made:
        worker = made.workers[0]
        await ask(worker, [image(v) for v in (10, 20, 30, 40, 50)])
        await ask(worker, [image(60)], wanted=Wanted(Kind.EMBED))
        await ask(worker, [image(70)], wanted=CANARY)
    assert made.offered.seen == [(v, v, v / 2) for v in (10, 20, 30, 40, 50)]


async def test_images_of_another_shape_close_the_link() -> None:
    async with house() as made:
        with pytest.raises(EngineGoneError):
            await ask(made.workers[0], [np.zeros((3, 3, 3), dtype=np.uint8)])
        assert (await ask(made.workers[1], [image(1)]))[0].label == 1
