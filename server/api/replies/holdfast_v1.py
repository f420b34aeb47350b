"""The replies of holdfast.v1, built and serialised a piece at a time.

A reply may hold 256,000 neighbours. Built at once it would keep every other call waiting for most of a second, health checks
too. So it is made of pieces of about a millisecond, in turns with everything else on the event loop. Each piece is serialised
for itself: messages of protobuf that are joined are one message with the fields of all, the repeated ones one after the other.
"""

from dataclasses import dataclass
from math import isnan

from holdfast.errors import ImageError
from holdfast.model.judgement.smoothing import SmoothedAnswer
from holdfast.protos.holdfast.v1 import answer_pb2, holdfast_pb2
from holdfast.server.api.holdfast_v1_messages import Labels, printable
from holdfast.server.api.status import to_status
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.result import Answer, Result
from holdfast.server.decoding.turns import LoopTurns

PIECE_S = 1e-3
"""Expected seconds of one piece of a reply."""

RESULT_S, NEIGHBOUR_S, PACKED_S, VALUE_S = 1.5e-5, 3.5e-6, 1e-7, 4e-8
"""Expected seconds of one result; and of one neighbour in it, one packed one, and one number of an embedding or a vote."""

AT_ONCE = 256
"""Neighbours of one image that are built in one piece."""

RESULT_BYTES, NEIGHBOUR_BYTES, PACKED_BYTES, SOURCE_BYTES, CERTIFICATES_BYTES = 80, 24, 16, 64, 16
SMOOTHING_BYTES = 64
"""Most bytes of one result beside its shares of the vote; and of one neighbour beside the class's name, of one packed one, a
guess at the source of one, the certificates of one result, and its smoothing beside the class's name."""

Reply = holdfast_pb2.ClassifyResponse | holdfast_pb2.ClassifyStreamResponse


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """What a reply holds beside the answers' figures.

    Attributes:
        count: neighbours of each image.
        packed: whether they come as columns.
        sources: whether they say where their images came from.
        certificates: whether answers have certificates.
        smoothing: whether they were smoothed.

    """

    count: int
    packed: bool = False
    sources: bool = False
    certificates: bool = False
    smoothing: bool = False


def classify_bytes(model: ModelDescription, images: int, form: ReplyForm) -> int:
    """Bytes of a reply, about: rather more than there will be."""
    count = min(form.count, model.vote.k)
    name = model.longest_class_name
    each = PACKED_BYTES if form.packed else NEIGHBOUR_BYTES + name
    own = RESULT_BYTES + CERTIFICATES_BYTES * form.certificates + (SMOOTHING_BYTES + name) * form.smoothing + name
    return images * (own + 4 * len(model.class_names) + count * (each + SOURCE_BYTES * form.sources))


def embed_bytes(model: ModelDescription, images: int) -> int:
    """Bytes of a reply, about."""
    return images * (RESULT_BYTES + 4 * model.embedding_dim)


class ReplyBuilder:
    """Builds serialised replies. Belongs to one event loop.

    Args:
        turns: of the loop.

    """

    def __init__(self, turns: LoopTurns) -> None:
        self._turns, self._labels = turns, Labels()

    async def classify(self, result: Result, form: ReplyForm, caller: str) -> bytes:
        """A ClassifyResponse."""
        names = result.model.class_names if form.packed else ()
        return await self._build(result, form, caller, holdfast_pb2.ClassifyResponse(class_names=names))

    async def classify_stream(self, sequence: int, result: Result, form: ReplyForm, caller: str) -> bytes:
        """A ClassifyStreamResponse."""
        names = result.model.class_names if form.packed else ()
        begin = holdfast_pb2.ClassifyStreamResponse(sequence=sequence, class_names=names)
        return await self._build(result, form, caller, begin)

    async def embed(self, result: Result, caller: str) -> bytes:
        """An EmbedResponse."""
        each = RESULT_S + VALUE_S * result.model.embedding_dim
        at_once = max(1, int(PIECE_S / each))
        pieces = []
        for first in range(0, len(result.outcomes), at_once):
            some = result.outcomes[first : first + at_once]
            await self._turns.take(caller, len(some) * each)
            results = [_embed_result(outcome) for outcome in some]
            pieces.append(holdfast_pb2.EmbedResponse(results=results).SerializeToString())
        return await self._turns.joined(pieces, caller)

    async def _build(self, result: Result, form: ReplyForm, caller: str, begin: Reply) -> bytes:
        """The results behind `begin`, all that comes before them."""
        labels, count = self._labels.of(result.model), min(form.count, result.model.vote.k)
        own = RESULT_S + VALUE_S * len(labels)
        each = own + count * (PACKED_S if form.packed else NEIGHBOUR_S)
        at_once = max(1, int(PIECE_S / each))
        reply, pieces, smoothed = begin, list[bytes](), iter(result.smoothed)
        for first in range(0, len(result.outcomes), at_once):
            some = result.outcomes[first : first + at_once]
            if at_once > 1 and not self._turns.taken(len(some) * each):
                await self._turns.take(caller, len(some) * each)
            for outcome in some:
                message = reply.results.add()
                if isinstance(outcome, ImageError):
                    message.error.CopyFrom(to_status(outcome))
                    continue
                if at_once == 1:
                    await self._turns.take(caller, own)
                _fill(message.answer, outcome, labels)
                if form.certificates:
                    _add_certificates(message.answer.certificates, outcome)
                if form.smoothing:
                    _add_smoothing(message.answer.smoothing, next(smoothed), labels)
                if count:
                    await self._add_neighbours(message.answer, outcome, form, caller, labels, in_pieces=at_once == 1)
            pieces.append(reply.SerializeToString())
            reply = type(begin)()
        return await self._turns.joined(pieces, caller) if pieces else begin.SerializeToString()

    async def _add_neighbours(
        self,
        message: answer_pb2.Classification,
        answer: Answer,
        form: ReplyForm,
        caller: str,
        labels: list[answer_pb2.Label],
        *,
        in_pieces: bool,
    ) -> None:
        """Add the neighbours of one answer; where they are many, in pieces of their own."""
        ids, numbers, similarities, *more = answer.neighbour_columns(form.count, sources=form.sources)
        sources = [printable(source) for source in more[0]] if more else None
        if form.packed:
            packed = message.packed_neighbours
            packed.ids.extend(ids)
            packed.labels.extend(numbers)
            packed.similarities.extend(similarities)
            packed.sources.extend(sources or ())
            return
        at_once = AT_ONCE if in_pieces else len(ids)
        for first in range(0, len(ids), at_once or 1):
            last = min(first + at_once, len(ids))
            if in_pieces:
                await self._turns.take(caller, (last - first) * NEIGHBOUR_S)
            message.neighbours.extend(
                answer_pb2.Neighbour(
                    id=ids[place],
                    label=labels[numbers[place]],
                    similarity=similarities[place],
                    source=None if sources is None else sources[place],
                )
                for place in range(first, last)
            )


def _fill(message: answer_pb2.Classification, answer: Answer, labels: list[answer_pb2.Label]) -> None:
    message.label.CopyFrom(labels[answer.label])
    message.probabilities.extend(answer.probabilities)
    message.abstain = answer.abstain
    message.soft_margin = answer.soft_margin
    message.kth_neighbour_distance = answer.kth_distance
    if not isnan(answer.credibility):
        message.credibility, message.confidence = answer.credibility, answer.confidence
    if not isnan(answer.kth_distance_p_value):
        message.kth_neighbour_distance_p_value = answer.kth_distance_p_value
    if not isnan(answer.softmax_response):
        message.softmax_response = answer.softmax_response


def _add_certificates(message: answer_pb2.Certificates, answer: Answer) -> None:
    message.SetInParent()  # it was asked for, and may know nothing
    if answer.poison_tolerance >= 0:
        message.poison_tolerance = answer.poison_tolerance
    if not isnan(answer.feature_shift):
        message.feature_shift = answer.feature_shift


def _add_smoothing(message: answer_pb2.Smoothing, smoothed: SmoothedAnswer, labels: list[answer_pb2.Label]) -> None:
    message.label.CopyFrom(labels[smoothed.label])
    message.hits, message.draws, message.share_bound = smoothed.hits, smoothed.draws, smoothed.probability
    message.sigma, message.alpha = smoothed.sigma, smoothed.alpha
    if not smoothed.abstain:
        message.radius = smoothed.radius


def _embed_result(outcome: Answer | ImageError) -> answer_pb2.EmbedResult:
    if isinstance(outcome, ImageError):
        return answer_pb2.EmbedResult(error=to_status(outcome))
    return answer_pb2.EmbedResult(embedding=answer_pb2.Embedding(values=outcome.embedding.tolist()))
