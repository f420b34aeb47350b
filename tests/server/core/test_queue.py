"""A full queue, late and cancelled callers, a model that fails: many callers, one engine."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from holdfast.model.classifier import Classifier, Retrieval
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.server.api.status import PUSHBACK_KEY
from tests.server.running import Serve, Served, await_metric, refusal
from tests.server.tiny import Pixels, coloured, raw

GOOD = raw(coloured(1, 1, seed=1)[0])


class Gate:
    """Holds the model of one server until it is opened; others, which check themselves now and then, pass by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mine: Classifier) -> None:
        self.open, self.entered = threading.Event(), threading.Event()
        self.batches: list[int] = []
        retrieve, gate = Classifier.retrieve, self

        def held(classifier: Classifier, images: Pixels) -> Retrieval:
            if classifier is not mine:
                return retrieve(classifier, images)
            gate.batches.append(len(images))
            gate.entered.set()
            assert gate.open.wait(20)
            return retrieve(classifier, images)

        monkeypatch.setattr(Classifier, "retrieve", held)


@pytest.fixture
def busy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Served, Gate]]:
    """A server with room for 4 images, whose model is held on the first of them."""
    served = serve(queue_images=4, max_images=4, max_batch=2, max_wait=0, caller_share=1)
    gate = Gate(monkeypatch, served.app.holder.current.classifier)
    first = served.stub.Classify.future(pb.ClassifyRequest(images=[GOOD]))
    assert gate.entered.wait(10)
    yield served, gate
    gate.open.set()
    assert first.result(10).results[0].answer.label.name == "green"


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(busy: tuple[Served, Gate]) -> None:
    served, gate = busy
    waiting = served.stub.Classify.future(pb.ClassifyRequest(images=[GOOD] * 3))
    await_metric(served, "holdfast_admitted_images", 4)
    # While the model is held: so the refusal waited for nobody.
    error: Any = refusal(lambda: served.stub.Classify(pb.ClassifyRequest(images=[GOOD]), timeout=10))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(error)
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(retry)
    pushback = dict(error.trailing_metadata())[PUSHBACK_KEY]
    assert int(pushback) == retry.retry_delay.ToMilliseconds() >= 10
    assert served.metric("holdfast_refused_images_total") == 1
    gate.open.set()
    assert len(waiting.result(10).results) == 3


def test_a_stream_hears_of_a_full_queue_and_goes_on(busy: tuple[Served, Gate]) -> None:
    served, gate = busy
    requests = (pb.ClassifyStreamRequest(sequence=n, images=[GOOD, GOOD]) for n in range(3))
    replies = served.stub.ClassifyStream(requests)
    refused = [next(replies), next(replies)]
    assert all(r.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0] for r in refused)
    gate.open.set()
    (answered,) = replies
    assert len(answered.results) == 2


def test_a_deadline_in_the_queue_is_honoured(busy: tuple[Served, Gate]) -> None:
    served, gate = busy
    late = served.stub.Classify.future(pb.ClassifyRequest(images=[GOOD]), timeout=1.0)
    await_metric(served, "holdfast_admitted_images", 2)  # on a busy machine a caller can give up before it is let in
    assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await_metric(served, "holdfast_admitted_images", 1)
    gate.open.set()
    served.stub.Classify(pb.ClassifyRequest(images=[GOOD]))
    assert gate.batches == [1, 1]  # the late image never reached the model
    labels = {"grpc_method": "Classify", "grpc_code": "DEADLINE_EXCEEDED"}
    await_metric(served, "grpc_server_handled_total", 1, **labels)


def test_a_cancelled_call_is_dropped(busy: tuple[Served, Gate]) -> None:
    served, gate = busy
    call = served.stub.Classify.future(pb.ClassifyRequest(images=[GOOD, GOOD]))
    await_metric(served, "holdfast_admitted_images", 3)
    call.cancel()
    await_metric(served, "holdfast_admitted_images", 1)
    gate.open.set()
    served.stub.Classify(pb.ClassifyRequest(images=[GOOD]))
    assert gate.batches == [1, 1]
    assert served.metric("holdfast_cancelled_images_total") == 2
    await_metric(served, "grpc_server_handled_total", 1, grpc_method="Classify", grpc_code="CANCELLED")


def test_a_model_that_fails_fails_its_batch_alone(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve(max_wait=0)
    with monkeypatch.context() as broken:
        broken.setattr(Classifier, "retrieve", lambda *_: 1 / 0)
        error = refusal(lambda: served.stub.Classify(pb.ClassifyRequest(images=[GOOD])))
        assert error.code() == grpc.StatusCode.INTERNAL
        assert "division" not in (error.details() or "")
    assert served.stub.Classify(pb.ClassifyRequest(images=[GOOD])).results[0].answer.label.name == "green"
    assert served.metric("holdfast_engine_failures_total") == 1
    assert served.app.batcher.alive()


def test_concurrent_callers_share_batches(served: Served) -> None:
    def call(seed: int) -> str:
        (image,) = coloured(seed % 3, 1, seed=seed)
        return served.stub.Classify(pb.ClassifyRequest(images=[raw(image)])).results[0].answer.label.name

    before = [served.metric(f"holdfast_batch_images_{what}") for what in ("count", "sum")]
    with ThreadPoolExecutor(16) as callers:
        names = list(callers.map(call, range(300)))
    assert names == ["red", "green", "blue"] * 100
    batches, images = (served.metric(f"holdfast_batch_images_{w}") - b for w, b in zip(("count", "sum"), before, strict=True))
    assert images == 300
    assert batches < 300
