"""Long replies: built in pieces that are short, and the same message as if they had been built at once."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from holdfast.errors import ImageError
from holdfast.model.answers import Answers, Neighbours
from holdfast.model.vote import VoteParameters
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.server.api.replies.holdfast_v1 import ReplyBuilder, ReplyForm, classify_bytes, embed_bytes
from holdfast.server.core.request import BatchSlice
from holdfast.server.core.result import AnsweredBatch, Result
from holdfast.server.decoding.turns import LONG_BYTES, WRITTEN_S, LoopTurns
from tests.server.described import described

CLASSES, DIM = 10, 6


class Named:
    def of(self, ids: np.ndarray) -> list[str]:
        return [f"Ä {number}" for number in ids.tolist()]


class CountedTurns(LoopTurns):
    """Remembers the seconds of each piece of work."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[float] = []

    def taken(self, seconds: float) -> bool:
        at_once = super().taken(seconds)
        if at_once:
            self.pieces.append(seconds)
        return at_once

    async def take(self, caller: str, seconds: float) -> None:
        before = len(self.pieces)
        await super().take(caller, seconds)
        if len(self.pieces) == before:  # it had to wait
            self.pieces.append(seconds)


def result_of(images: int, k: int, bad: frozenset[int] = frozenset(), missing: int = 0, calibrated: bool = True) -> Result:
    rng = np.random.default_rng(images * 1000 + k)
    ids = rng.integers(0, 50_000, (images, k))
    ids[:, k - missing :] = -1
    model = described(class_names=tuple(f"class {n}" for n in range(CLASSES)), vote=VoteParameters(k=k))
    confidences = rng.random(images) if calibrated else np.full(images, np.nan)
    answers = Answers(
        embeddings=rng.random((images, DIM)).astype(np.float32),
        labels=rng.integers(0, CLASSES, images),
        probabilities=rng.random((images, CLASSES)).astype(np.float32),
        credibility=confidences,
        confidence=confidences,
        abstain=rng.random(images) < 0.5,
        soft_margin=rng.random(images).astype(np.float32),
        kth_distance=rng.random(images).astype(np.float32),
        kth_distance_p_value=confidences,
        softmax_response=(confidences / 2).astype(np.float32),
        poison_tolerance=np.where(np.isnan(confidences), -1, rng.integers(0, 9, images)),
        feature_shift=confidences / 4,
        neighbours=Neighbours(ids, rng.integers(0, CLASSES, (images, k)), rng.random((images, k)).astype(np.float32)),
    )
    part = BatchSlice(AnsweredBatch(model, answers, Named()), 0, images)
    outcomes = [
        ImageError(f"images[{n}].encoded", "is not one") if n in bad else answer
        for n, answer in enumerate(part.batch.between(0, images))
    ]
    return Result(model, outcomes)


def expected(result: Result, form: ReplyForm) -> pb.ClassifyResponse:
    """The same, written down field by field."""
    reply = pb.ClassifyResponse(class_names=result.model.class_names if form.packed else ())
    names = result.model.class_names
    for outcome in result.outcomes:
        message = reply.results.add()
        if isinstance(outcome, ImageError):
            continue
        answer = message.answer
        answer.label.index, answer.label.name = outcome.label, names[outcome.label]
        answer.probabilities.extend(outcome.probabilities)
        answer.abstain, answer.soft_margin, answer.kth_neighbour_distance = (
            outcome.abstain,
            outcome.soft_margin,
            outcome.kth_distance,
        )
        if outcome.credibility == outcome.credibility:
            answer.credibility, answer.confidence = outcome.credibility, outcome.confidence
            answer.kth_neighbour_distance_p_value = outcome.kth_distance_p_value
            answer.softmax_response = outcome.softmax_response
        if form.certificates:
            answer.certificates.SetInParent()
            if outcome.poison_tolerance >= 0:
                answer.certificates.poison_tolerance = outcome.poison_tolerance
                answer.certificates.feature_shift = outcome.feature_shift
        near = outcome.neighbours(form.count, sources=form.sources)
        if form.packed and form.count:
            packed = answer.packed_neighbours
            packed.ids.extend(n.id for n in near)
            packed.labels.extend(n.label for n in near)
            packed.similarities.extend(n.similarity for n in near)
            packed.sources.extend(n.source or "" for n in near if form.sources)
            continue
        for each in near:
            neighbour = answer.neighbours.add(id=each.id, similarity=each.similarity)
            neighbour.label.index, neighbour.label.name = each.label, names[each.label]
            if form.sources:
                neighbour.source = each.source or ""
    return reply


forms = st.builds(ReplyForm, st.sampled_from([0, 1, 3, 300, 10_000]), st.booleans(), st.booleans(), st.booleans())


@hypothesis_settings(max_examples=40)
@given(st.integers(1, 40), st.sampled_from([1, 5, 700]), st.frozensets(st.integers(0, 39)), forms, st.booleans())
def test_pieces_are_the_whole(images: int, k: int, bad: frozenset[int], form: ReplyForm, calibrated: bool) -> None:
    result, builder = result_of(images, k, bad, missing=k // 3, calibrated=calibrated), ReplyBuilder(LoopTurns())
    serialised = asyncio.run(builder.classify(result, form, "a"))
    reply, whole = pb.ClassifyResponse.FromString(serialised), expected(result, form)
    streamed = pb.ClassifyStreamResponse.FromString(asyncio.run(builder.classify_stream(7, result, form, "a")))
    assert streamed.sequence == 7
    assert list(streamed.results) == list(reply.results)
    assert list(streamed.class_names) == list(reply.class_names)
    for number, message in enumerate(reply.results):
        if number in bad:
            assert message.WhichOneof("outcome") == "error"
            assert message.error.code == 3
            message.ClearField("error")
    assert reply == whole
    besides = sum(map(len, reply.class_names)) + 20 * CLASSES + 200 * len(bad)
    assert len(serialised) <= classify_bytes(result.model, images, form) + besides


@given(st.integers(1, 300))
def test_embeddings_in_pieces_are_the_whole(images: int) -> None:
    result = result_of(images, 2, frozenset({3}))
    serialised = asyncio.run(ReplyBuilder(LoopTurns()).embed(result, "a"))
    reply = pb.EmbedResponse.FromString(serialised)
    assert len(reply.results) == images
    for message, outcome in zip(reply.results, result.outcomes, strict=True):
        if isinstance(outcome, ImageError):
            assert message.WhichOneof("outcome") == "error"
        else:
            assert list(message.embedding.values) == outcome.embedding.tolist()
    assert len(serialised) <= embed_bytes(result.model, images) + DIM * 4 * images + 200


@pytest.mark.parametrize("form", [ReplyForm(1000), ReplyForm(1000, packed=True), ReplyForm(0)])
async def test_no_piece_is_long(form: ReplyForm) -> None:
    """256 images with all 1,000 neighbours: as many pieces as there are milliseconds of work."""
    turns = CountedTurns()
    reply = await ReplyBuilder(turns).classify(result_of(256, 1000), form, "a")
    if len(reply) >= LONG_BYTES:  # gRPC writes it in one go, whoever built it: that has a turn of its own
        assert turns.pieces.pop() == len(reply) * WRITTEN_S
    assert max(turns.pieces) <= 1.01e-3
    assert len(turns.pieces) >= sum(turns.pieces) / 1.01e-3
    if form.count and not form.packed:
        assert sum(turns.pieces) > 0.8  # what one turn would have taken


async def test_others_have_their_turn_between_two_pieces() -> None:
    """Eight long replies at once: the loop goes round hundreds of times meanwhile, and a short reply is not behind them."""
    builder, rounds, finished = ReplyBuilder(LoopTurns()), 0, list[str]()

    async def build(name: str, images: int, k: int) -> None:
        await builder.classify(result_of(images, k), ReplyForm(k), name)
        finished.append(name)

    async def go_round() -> None:
        nonlocal rounds
        while len(finished) < 9:
            rounds += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(build(f"long {number}", 32, 300))
        group.create_task(go_round())
        await asyncio.sleep(0)
        group.create_task(build("short", 1, 5))
    assert finished[0] == "short"
    assert rounds > 8 * 32 * 300 * 3.5e-6 / 5e-3
