"""Observers: what they see, that they may be slow or broken, and that answers do not wait for them."""

import logging
import threading
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import generate_latest

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.server.core.observers import BackgroundObserver, MakeObserver, ObservedBatch, Observer, ObserverContext
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.monitor.answers import EVERY, AnswerMetrics
from holdfast.server.monitor.table import OBSERVERS
from tests.server.running import Serve, metric_of, snapshot_of, wait_for
from tests.server.tiny import DIM, SIDE, K, coloured, raw


class Recorder(Observer):
    """A toy: one file, and one line of the table."""

    name = "recorder"

    def __init__(self) -> None:
        self.batches: list[ObservedBatch] = []

    def make(self, context: ObserverContext) -> Observer:
        return self

    def observe(self, batch: ObservedBatch) -> None:
        self.batches.append(batch.take(np.arange(len(batch))))

    @property
    def images(self) -> int:
        return sum(map(len, self.batches))


class Broken(Observer):
    name = "broken"

    def __init__(self, context: ObserverContext) -> None:
        pass

    def observe(self, batch: ObservedBatch) -> None:
        raise ZeroDivisionError("not today")


class Slow(BackgroundObserver):
    """Works when it is let to."""

    name = "slow"

    def __init__(self, capacity: int, metrics: Metrics, odd_only: bool = False) -> None:
        super().__init__(capacity, metrics)
        self.entered, self.go_on = threading.Semaphore(0), threading.Event()
        self.seen: list[ObservedBatch] = []
        self._odd_only = odd_only

    def select(self, batch: ObservedBatch) -> np.ndarray:
        rows = super().select(batch)
        return rows[1::2] if self._odd_only else rows

    def work(self, batch: ObservedBatch) -> None:
        self.entered.release()
        assert self.go_on.wait(20)
        self.seen.append(batch)


@pytest.fixture(scope="module")
def snapshot(tiny_bundle: Path) -> ModelSnapshot:
    return snapshot_of(tiny_bundle)


def batch_of(snapshot: ModelSnapshot, count: int) -> ObservedBatch:
    pixels = coloured(1, count, seed=3)
    return ObservedBatch(snapshot, pixels, snapshot.classifier.classify(pixels), [f"10.0.0.{n}" for n in range(count)])


def metric(metrics: Metrics, name: str, **labels: str) -> float:
    return metric_of(generate_latest(metrics.registry).decode(), name, **labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_observer_sees_every_classified_image_once_with_its_answer_and_caller(serve: Serve, workers: int) -> None:
    recorder = Recorder()
    served = serve(workers=workers, parts={"observers": (*OBSERVERS, recorder.make)})
    images = np.concatenate([coloured(label, 30, seed=90 + label) for label in range(3)])  # more than a batch
    results = served.stub.Classify(pb.ClassifyRequest(images=map(raw, images))).results
    served.stub.Embed(pb.EmbedRequest(images=map(raw, images)))
    list(served.stub.ClassifyStream(iter([pb.ClassifyStreamRequest(images=[raw(images[0])])])))
    wait_for(lambda: recorder.images == len(images) + 1)
    seen = recorder.batches[:-1]
    np.testing.assert_array_equal(np.concatenate([batch.images for batch in seen]), images)
    labels = np.concatenate([batch.answers.labels for batch in seen]).tolist()
    assert labels == [result.answer.label.index for result in results]
    for batch in recorder.batches:
        assert batch.snapshot is served.app.holder.current
        assert set(batch.callers) == {"127.0.0.1"}
        assert batch.answers.embeddings.shape == (len(batch), DIM)
        assert batch.answers.neighbours.ids.shape == (len(batch), K)
        assert batch.images.shape[1:] == (SIDE, SIDE, 3)
    assert (
        recorder.images
        == served.metric("holdfast_soft_margin_bucket", le="+Inf")
        == served.metric("holdfast_credibility_count")
    )


def test_an_observer_that_raises_is_logged_once_counted_and_harms_nobody(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    observers: tuple[MakeObserver, ...] = (Broken, recorder.make)
    served = serve(parts={"observers": observers})
    with caplog.at_level(logging.ERROR):
        for label in range(3):
            (result,) = served.stub.Classify(pb.ClassifyRequest(images=[raw(coloured(label, 1, seed=1)[0])])).results
            assert result.answer.label.index == label
        wait_for(lambda: recorder.images == 3)
    assert served.metric("holdfast_observer_failures_total", observer="broken") == 3
    assert len([record for record in caplog.records if "broken" in record.getMessage()]) == 1
    assert served.metric("holdfast_engine_failures_total") == 0


def test_answers_do_not_wait_for_a_slow_observer_which_sheds_what_it_cannot_take(serve: Serve) -> None:
    slow: list[Slow] = []

    def make(context: ObserverContext) -> Observer:
        slow.append(Slow(8, context.metrics))
        return slow[0]

    served = serve(parts={"observers": (make,)})
    request = pb.ClassifyRequest(images=[raw(image) for image in coloured(2, 5, seed=4)])
    assert served.stub.Classify(request).results[0].answer.label.name == "blue"
    assert slow[0].entered.acquire(timeout=10)
    for _ in range(4):  # it holds the first five; of 20 more there is room for 8
        assert served.stub.Classify(request).results[0].answer.label.name == "blue"
    wait_for(lambda: served.metric("holdfast_observer_shed_images_total", observer="slow") == 12)
    slow[0].go_on.set()
    wait_for(lambda: sum(map(len, slow[0].seen)) == 13)


def test_a_background_observer_gets_copies_of_what_it_selects(snapshot: ModelSnapshot) -> None:
    slow, batch = Slow(100, Metrics(), odd_only=True), batch_of(snapshot, 7)
    expected = batch.take(np.array([1, 3, 5]))
    slow.start()
    slow.observe(batch)
    batch.images[:] = 0
    batch.answers.labels[:] = 99
    slow.go_on.set()
    wait_for(lambda: slow.seen)
    slow.stop()
    (seen,) = slow.seen
    np.testing.assert_array_equal(seen.images, expected.images)
    np.testing.assert_array_equal(seen.answers.labels, expected.answers.labels)
    np.testing.assert_array_equal(seen.answers.neighbours.ids, expected.answers.neighbours.ids)
    assert seen.callers == ["10.0.0.1", "10.0.0.3", "10.0.0.5"]


def test_a_background_observer_rests_once_nothing_has_come_for_a_while(snapshot: ModelSnapshot) -> None:
    class Gathering(BackgroundObserver):
        name, every = "gathering", 0.02

        def __init__(self) -> None:
            super().__init__(100, Metrics())
            self.gathered: list[ObservedBatch] = []
            self.looked_at: list[list[ObservedBatch]] = []

        def copy(self, batch: ObservedBatch, rows: np.ndarray) -> ObservedBatch:
            return batch.without_neighbours().take(rows)

        def work(self, batch: ObservedBatch) -> None:
            self.gathered.append(batch)

        def rest(self) -> None:
            gathered, self.gathered = self.gathered, []
            if gathered:
                self.looked_at.append(gathered)

    gathering, batches = Gathering(), [batch_of(snapshot, count) for count in (3, 1, 4)]
    gathering.start()
    for batch in batches:
        gathering.observe(batch)
    wait_for(lambda: sum(map(len, gathering.looked_at)) == 3)
    gathering.stop()
    for batch, copied in zip(batches, chain(*gathering.looked_at), strict=True):
        np.testing.assert_array_equal(copied.images, batch.images)
        np.testing.assert_array_equal(copied.answers.labels, batch.answers.labels)
        assert copied.callers == batch.callers
        assert copied.answers.neighbours.ids.shape == (len(batch), 0)


def test_a_background_observer_that_looks_seldom_looks_at_once_when_half_of_its_room_is_taken(snapshot: ModelSnapshot) -> None:
    class Seldom(Slow):
        every = 1000.0

    seldom = Seldom(8, Metrics())
    seldom.go_on.set()
    seldom.start()
    for count in (1, 4):
        seldom.observe(batch_of(snapshot, count))
    wait_for(lambda: sum(map(len, seldom.seen)) == 5)
    seldom.stop()


def test_a_background_observer_that_raises_goes_on(snapshot: ModelSnapshot, caplog: pytest.LogCaptureFixture) -> None:
    class Clumsy(Slow):
        def work(self, batch: ObservedBatch) -> None:
            self.seen.append(batch)
            raise ZeroDivisionError

    metrics = Metrics()
    clumsy = Clumsy(100, metrics)
    clumsy.start()
    for _ in range(3):
        clumsy.observe(batch_of(snapshot, 2))
    wait_for(lambda: metric(metrics, "holdfast_observer_failures_total", observer="slow") == 3)
    clumsy.stop()
    assert len(clumsy.seen) == 3
    assert len([record for record in caplog.records if "slow" in record.getMessage()]) == 1


def test_counts_are_whole_whichever_threads_count(snapshot: ModelSnapshot) -> None:
    metrics = Metrics()
    batch = batch_of(snapshot, 9)

    def work() -> None:
        for _ in range(200):
            metrics.answered(batch.answers)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("holdfast_kth_neighbour_distance", "holdfast_credibility"):
        assert metric(metrics, f"{name}_count") == 4 * 200 * 9
    assert metric(metrics, "holdfast_abstain_total") == 4 * 200 * int(batch.answers.abstain.sum())


def test_of_some_answers_the_poison_tolerance_is_counted(snapshot: ModelSnapshot) -> None:
    metrics = Metrics()
    observer, batch = AnswerMetrics(metrics), batch_of(snapshot, 50)
    for _ in range(20):
        observer.observe(batch)
    counted = 1 + (20 * 50 - 1) // EVERY
    assert metric(metrics, "holdfast_poison_tolerance_count") == counted
    known = snapshot.classifier.poison_tolerance(batch.answers, np.arange(50))
    assert counted * known.min() <= metric(metrics, "holdfast_poison_tolerance_sum") <= counted * known.max()
