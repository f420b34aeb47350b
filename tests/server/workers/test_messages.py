"""What goes between engine and workers: everything comes back as it was, and what is no message closes the link."""

import asyncio
import logging
import socket
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from holdfast.bundle.manifest import Accuracy
from holdfast.model.answers import Answers, Neighbours
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.errors import (
    CallerLimitError,
    DeadlineError,
    DrainingError,
    EngineError,
    NotInTimeError,
    QueueFullError,
)
from holdfast.server.core.request import BatchSlice, CallKind, Want
from holdfast.server.core.result import AnsweredBatch
from holdfast.server.settings import Settings
from holdfast.server.workers.control import Begin, decode, receive_begin
from holdfast.server.workers.frames import FrameReader, Link, WireError, frame
from holdfast.server.workers.messages import (
    CALLER_BYTES,
    Cancel,
    ImagesRequest,
    Reply,
    decode_reply,
    decode_request,
    encode_answers,
    encode_cancel,
    encode_model,
    encode_refusal,
    encode_request,
)
from tests.server.described import ACCURACY, described

SHAPE = (4, 5, 3)
numbers = st.integers(0, 2**64 - 1)
wants = st.builds(Want, st.sampled_from(CallKind), st.integers(0, 2**32 - 1), st.booleans(), st.booleans())


def model_of(classes: int, version: int = 5) -> ModelDescription:
    return described(version=version, class_names=tuple(map(str, range(classes))))


def body_of(data: bytes) -> memoryview:
    (body,) = FrameReader(2**20).feed(data)
    return body


def answers_of(rng: np.random.Generator, count: int, classes: int, dim: int, k: int) -> Answers:
    def floats(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    return Answers(
        embeddings=floats(count, dim),
        labels=rng.integers(0, classes, count),
        probabilities=floats(count, classes),
        credibility=np.where(rng.random(count) < 0.5, np.nan, rng.random(count)),
        confidence=rng.random(count),
        abstain=rng.random(count) < 0.5,
        soft_margin=floats(count),
        kth_distance=floats(count),
        kth_distance_p_value=rng.random(count),
        softmax_response=floats(count),
        poison_tolerance=rng.integers(-1, 9, count),
        feature_shift=rng.random(count),
        neighbours=Neighbours(rng.integers(0, 2**60, (count, k)), rng.integers(0, classes, (count, k)), floats(count, k)),
    )


@given(bodies=st.lists(st.binary(max_size=40), max_size=12), cuts=st.lists(st.integers(0, 400), max_size=12).map(sorted))
def test_frames_come_out_whole_however_they_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream, reader = b"".join(frame(body) for body in bodies), FrameReader(40)
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [bytes(body) for piece in pieces for body in reader.feed(piece)] == bodies


def test_a_frame_that_cannot_be_is_refused_before_it_is_there() -> None:
    with pytest.raises(WireError, match="41 bytes.*40"):
        FrameReader(40).feed(struct.pack("=I", 41))


@given(
    number=numbers,
    want=wants,
    deadline=st.floats(allow_nan=False),
    caller=st.text(max_size=90),
    images=st.integers(1, 5).flatmap(lambda n: arrays(np.uint8, (n, *SHAPE))),
    as_list=st.booleans(),
)
def test_a_request_comes_out_as_it_went_in(
    *, number: int, want: Want, deadline: float, caller: str, images: Any, as_list: bool
) -> None:
    sent = encode_request(number, want, deadline, caller, list(images) if as_list else images)
    request = decode_request(body_of(sent), SHAPE)
    assert isinstance(request, ImagesRequest)
    assert (request.number, request.want, request.deadline) == (number, want, deadline)
    assert request.caller == caller.encode()[:CALLER_BYTES].decode(errors="replace")
    np.testing.assert_array_equal(request.images, images)


@given(numbers)
def test_a_cancellation_comes_out_as_it_went_in(number: int) -> None:
    assert decode_request(body_of(encode_cancel(number)), SHAPE) == Cancel(number)


@given(
    number=numbers,
    want=wants,
    sizes=st.tuples(st.integers(2, 12), st.integers(1, 6)),
    seed=st.integers(0, 1000),
    parts=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=3),
)
def test_answers_come_out_as_their_slices_went_in(
    number: int, want: Want, sizes: tuple[int, int], seed: int, parts: list[tuple[int, int, int]]
) -> None:
    rng, (classes, k) = np.random.default_rng(seed), sizes
    model = model_of(classes)
    slices = [
        BatchSlice(AnsweredBatch(model, answers_of(rng, before + count + after, classes, 7, k)), before, before + count, *timed)
        for timed, (before, count, after) in zip(((5.5, 0.25), (6.5, 0.5), (7.5, 1.0)), parts, strict=False)
    ]
    reply = decode_reply(body_of(encode_answers(number, slices, want)), {1: model_of(1, 1), model.version: model})
    assert isinstance(reply, Reply)
    assert reply.number == number
    assert (reply.began, reply.seconds) == (5.5, sum(part.seconds for part in slices))
    assert isinstance(reply.outcome, AnsweredBatch)
    assert reply.outcome.model is model
    expected = [answer for part in slices for answer in part.batch.one_by_one[part.start : part.stop]]
    for ours, theirs in zip(reply.outcome.one_by_one, expected, strict=True):
        np.testing.assert_equal(
            [ours.label, ours.probabilities, ours.credibility, ours.confidence, ours.abstain, ours.soft_margin],
            [theirs.label, theirs.probabilities, theirs.credibility, theirs.confidence, theirs.abstain, theirs.soft_margin],
        )
        assert ours.kth_distance == theirs.kth_distance
        assert ours.neighbours(want.neighbours) == theirs.neighbours(want.neighbours)
        wide = theirs.embedding if want.kind == CallKind.EMBED else theirs.embedding[:0]
        np.testing.assert_array_equal(ours.embedding, wide)


class Named:
    """A source for each exemplar, made of its id."""

    def of(self, ids: Any) -> list[str]:
        return [f"ordner/Ä {number}.png" for number in ids.tolist()]


def named_slice(seed: int, k: int = 5, missing: int = 0) -> BatchSlice:
    answers = answers_of(np.random.default_rng(seed), 4, 3, 4, k)
    if missing:
        answers.neighbours.ids[:, -missing:] = -1
    return BatchSlice(AnsweredBatch(model_of(3), answers, Named()), 1, 4)


@given(asked=st.integers(0, 7), missing=st.integers(0, 5), seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3))
def test_sources_of_neighbours_come_out_where_they_were_wanted(asked: int, missing: int, seeds: list[int]) -> None:
    slices = [named_slice(seed, missing=missing) for seed in seeds]
    for wanted in (False, True):
        want = Want(CallKind.CLASSIFY, asked, wanted)
        reply = decode_reply(body_of(encode_answers(1, slices, want)), {5: model_of(3)})
        assert isinstance(reply, Reply)
        assert isinstance(reply.outcome, AnsweredBatch)
        expected = [answer for part in slices for answer in part.batch.one_by_one[part.start : part.stop]]
        for ours, theirs in zip(reply.outcome.one_by_one, expected, strict=True):
            assert ours.neighbours(asked, sources=wanted) == theirs.neighbours(asked, sources=wanted)
            assert {n.source is None for n in ours.neighbours(asked, sources=wanted)} <= {not wanted}


def test_an_answer_carries_what_was_asked_for_and_no_more() -> None:
    part = BatchSlice(AnsweredBatch(model_of(10), answers_of(np.random.default_rng(0), 1, 10, 512, 1000)), 0, 1)
    size = {want: len(encode_answers(0, [part], want)) for want in map(Want, CallKind)}
    assert size[Want(CallKind.CLASSIFY)] == size[Want(CallKind.CANARY)] < 160
    assert size[Want(CallKind.EMBED)] == size[Want(CallKind.CLASSIFY)] + 512 * 4
    assert len(encode_answers(0, [part], Want(CallKind.CLASSIFY, 3))) == size[Want(CallKind.CLASSIFY)] + 3 * 20


@pytest.mark.parametrize(
    "error",
    [
        EngineError(),
        DeadlineError(),
        DrainingError(),
        QueueFullError(1.5),
        NotInTimeError(1.5),
        CallerLimitError(1.5),
        KeyError("x"),
    ],
)
def test_a_refusal_comes_out_as_it_went_in(error: Exception) -> None:
    reply = decode_reply(body_of(encode_refusal(7, error)), {})
    assert isinstance(reply, Reply)
    assert reply.number == 7
    assert isinstance(reply.outcome, EngineError if isinstance(error, KeyError) else type(error))
    if isinstance(reply.outcome, QueueFullError):
        assert reply.outcome.retry_after == 1.5


@pytest.mark.parametrize("accuracy", [None, ACCURACY])
def test_a_model_comes_out_as_it_went_in(accuracy: Accuracy | None) -> None:
    model = described(version=2**40, class_names=("Äpfel", "梨"), accuracy=accuracy, disagreement_ratio=None)
    assert decode_reply(body_of(encode_model(model)), {}) == model


def test_answers_of_a_model_that_was_not_described_are_no_message() -> None:
    sent = encode_answers(1, [SLICE], Want())
    with pytest.raises(WireError, match="version 5"):
        decode_reply(body_of(sent), {4: model_of(3, 4)})


def request_of(body: bytes) -> ImagesRequest | Cancel:
    return decode_request(memoryview(body), SHAPE)


def reply_of(body: bytes) -> Reply | ModelDescription:
    return decode_reply(memoryview(body), {5: model_of(3)})


IMAGES = np.zeros((2, *SHAPE), dtype=np.uint8)
SLICE = BatchSlice(AnsweredBatch(model_of(3), answers_of(np.random.default_rng(0), 2, 3, 4, 5)), 0, 2)
WHOLE = {
    "request": (request_of, encode_request(1, Want(CallKind.CLASSIFY, 3), 9.0, "10.0.0.7", IMAGES)),
    "cancel": (request_of, encode_cancel(1)),
    "answers": (reply_of, encode_answers(1, [SLICE], Want(CallKind.EMBED, 2))),
    "sources": (reply_of, encode_answers(1, [named_slice(0)], Want(CallKind.CLASSIFY, 2, sources=True))),
    "refusal": (reply_of, encode_refusal(1, EngineError())),
    "model": (reply_of, encode_model(model_of(3))),
}


@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_what_is_cut_short_or_too_long_is_no_message(name: str, data: st.DataObject) -> None:
    decoder, sent = WHOLE[name]
    body = bytes(body_of(sent))
    decoder(body)
    wrong = data.draw(
        st.integers(0, len(body) - 1).map(lambda length: body[:length]) | st.binary(min_size=1).map(lambda more: body + more)
    )
    with pytest.raises(WireError):
        decoder(wrong)


@given(st.binary(max_size=200))
def test_noise_is_read_or_refused(noise: bytes) -> None:
    for decoder in (request_of, reply_of, decode):
        with suppress(WireError):
            decoder(noise)


def test_a_worker_gets_its_name_and_all_settings() -> None:
    settings = Settings(bundle="there", workers=2, probe_epsilons=(0.1, 0.25), port_file="ports.json", max_wait=0.5)
    begin = Begin("worker-1", settings)
    near, far = socket.socketpair()
    with near, far:
        near.sendall(begin.encode() + b"what comes next")
        assert receive_begin(far) == begin
        assert far.recv(100) == b"what comes next"
        near.shutdown(socket.SHUT_WR)
        with pytest.raises(EOFError):
            receive_begin(far)


@pytest.mark.parametrize("sent", [struct.pack("=I", 101), frame(b"bad"), frame(b"odd")])
async def test_a_link_that_carries_something_else_is_closed(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    def receive(body: memoryview) -> None:
        if body == b"bad":
            raise WireError("bad is no word")
        raise ZeroDivisionError

    near, far = socket.socketpair()
    lost = asyncio.Event()
    link = Link("the link", 100, receive, lost.set)
    await link.open(near)
    assert link.is_open
    with caplog.at_level(logging.ERROR):
        far.sendall(sent)
        await asyncio.wait_for(lost.wait(), 5)
    assert not link.is_open
    assert "the link is closed, for" in caplog.text
    link.send(frame(b"nobody hears this"))
    far.settimeout(5)
    assert far.recv(1) == b""
    far.close()
