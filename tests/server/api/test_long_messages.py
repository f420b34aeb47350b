"""Callers who send many long messages, to a real server."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from holdfast.model.classifier import Classifier, Retrieval
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from tests.server.running import Serve, refusal, wait_for
from tests.server.tiny import Pixels, coloured, raw

GOOD = pb.ClassifyRequest(images=[raw(coloured(1, 1, seed=1)[0])])


def long_call(size: int) -> pb.ClassifyRequest:
    """An image that is none, of so many bytes, beside one that is."""
    return pb.ClassifyRequest(images=[*GOOD.images, image_pb2.Image(encoded=bytes(size))])


def test_messages_beyond_a_callers_rate_are_read_later_and_all_answered(serve: Serve) -> None:
    served = serve(caller_message_rate=4_000_000)
    call = long_call(500_000)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: served.stub.Classify(call, timeout=20), range(8)))
    assert all(reply.results[0].answer.label.name == "green" and reply.results[1].HasField("error") for reply in replies)
    assert served.metric("holdfast_delayed_messages_total") > 0
    wait_for(lambda: served.metric("holdfast_held_message_bytes") == 0)


def test_streams_wait_for_their_turn_too(serve: Serve) -> None:
    served = serve(caller_message_rate=4_000_000)
    call = pb.ClassifyStreamRequest(images=long_call(700_000).images)
    replies = list(served.stub.ClassifyStream((call for _ in range(4)), timeout=20))
    assert [reply.results[0].answer.label.name for reply in replies] == ["green"] * 4
    assert served.metric("holdfast_delayed_messages_total") > 0


def test_more_bytes_than_may_be_held_are_refused(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served, call, go = serve(message_bytes=2**20), long_call(600_000), threading.Event()
    mine, retrieve = served.app.holder.current.classifier, Classifier.retrieve

    def held(classifier: Classifier, images: Pixels) -> Retrieval:
        assert classifier is not mine or go.wait(20)
        return retrieve(classifier, images)

    monkeypatch.setattr(Classifier, "retrieve", held)
    first = served.stub.Classify.future(call)
    wait_for(lambda: served.metric("holdfast_held_message_bytes") > 600_000)
    assert refusal(lambda: served.stub.Classify(call)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.metric("holdfast_refused_messages_total") == 1
    go.set()
    assert first.result(20).results[0].answer.label.name == "green"
    wait_for(lambda: served.metric("holdfast_held_message_bytes") == 0)
    assert served.stub.Classify(call).results[0].answer.label.name == "green"
