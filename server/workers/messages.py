"""What goes over a data link: images from a worker to the engine, answers and the models that gave them back.

Each message is one frame: a fixed head, then arrays as they lie in memory. A call's figures are one slice of rows of its batch
(`AnsweredBatch.rows`), so that the engine's work for a reply does not grow with the number of columns; embeddings and
neighbours follow only where they are wanted. Nothing is pickled.

Answers name the version of their model. Its description comes before them on the same link, so it is there when they are.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from holdfast.model.answers import Answers, Neighbours
from holdfast.model.preprocess import Pixels
from holdfast.server.core.description import ModelDescription
from holdfast.server.core.errors import (
    CallerLimitError,
    DeadlineError,
    DrainingError,
    EngineError,
    IndexUnavailableError,
    NotInTimeError,
    QueueFullError,
)
from holdfast.server.core.request import BatchSlice, CallKind, Images, Want
from holdfast.server.core.result import AnsweredBatch, row_type
from holdfast.server.core.scheduling.prediction import Backlog
from holdfast.server.workers.frames import WireError, frame

_REQUEST, _CANCEL, _ANSWERS, _REFUSAL, _MODEL, _BACKLOG = range(1, 7)
_REQUEST_HEAD = struct.Struct("=BQBI??dIB")
"""Tag, number, kind, neighbours, sources, certificates, deadline, images, bytes of the caller."""
_CANCEL_HEAD = struct.Struct("=BQ")  # tag, number
_ANSWERS_HEAD = struct.Struct("=BQddQIIII")
"""Tag, number, begin and seconds of the batch, version, images, dimensions, neighbours, bytes of sources."""
_REFUSAL_HEAD = struct.Struct("=BQdB")  # tag, number, pause, reason
_MODEL_HEAD = struct.Struct("=B")  # tag
_BACKLOG_BODY = struct.Struct("=BdIIdd")  # tag, and the fields of a Backlog

CALLER_BYTES = 255
"""Most bytes of a caller's identity, in UTF-8; what is longer is cut."""

HEAD = max(_REQUEST_HEAD.size + CALLER_BYTES, _ANSWERS_HEAD.size)
"""Bytes of the longest head."""

_KINDS = tuple(CallKind)  # looked up at every request: quicker than by value
_REASONS: tuple[type[Exception], ...] = (
    EngineError,
    DeadlineError,
    DrainingError,
    IndexUnavailableError,
    QueueFullError,
    NotInTimeError,
    CallerLimitError,
)


@dataclass(frozen=True, slots=True)
class ImagesRequest:
    """Images to be answered.

    Attributes:
        number: the worker's own, by which the reply is known.
        want: what has to be in the answers.
        deadline: on time.monotonic()'s clock, which the processes of one machine share.
        caller: as in core.request.Request.
        images: uint8 [N, H, W, C], a view of the frame.

    """

    number: int
    want: Want
    deadline: float
    caller: str
    images: Pixels


@dataclass(frozen=True, slots=True)
class Cancel:
    """The caller of that request has left."""

    number: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a request.

    Attributes:
        number: the request's.
        outcome: the answers, or why there are none.
        began, seconds: of the batch that they were in, as in core.request.BatchSlice; of several, the first begin and the sum.

    """

    number: int
    outcome: AnsweredBatch | Exception
    began: float = 0.0
    seconds: float = 0.0


def encode_request(number: int, want: Want, deadline: float, caller: str, images: Images) -> bytes:
    """A frame of at least one image, all of one shape."""
    name = caller.encode()[:CALLER_BYTES]
    neighbours = min(want.neighbours, 2**32 - 1)
    wanted = want.kind, neighbours, want.sources, want.certificates
    head = _REQUEST_HEAD.pack(_REQUEST, number, *wanted, deadline, len(images), len(name))
    return frame(head, name, images) if isinstance(images, np.ndarray) else frame(head, name, *images)


def encode_cancel(number: int) -> bytes:
    """A frame that takes a request back."""
    return frame(_CANCEL_HEAD.pack(_CANCEL, number))


def decode_request(body: memoryview, shape: tuple[int, int, int]) -> ImagesRequest | Cancel:
    """What a worker sent.

    Args:
        body: one frame, without its length.
        shape: of each image.

    Raises:
        WireError: no message of a worker, or not as long as it says.

    """
    tag = body[0] if body else 0
    if tag == _CANCEL:
        _, number = _unpack(_CANCEL_HEAD, body)
        _refuse_rest(body, _CANCEL_HEAD.size)
        return Cancel(number)
    if tag != _REQUEST:
        raise WireError(f"a worker sends no message {tag}")
    _, number, kind, neighbours, sources, certificates, deadline, count, named = _unpack(_REQUEST_HEAD, body)
    if kind >= len(_KINDS) or count == 0:
        raise WireError(f"a request of kind {kind} and of {count} images")
    if isnan(deadline):
        raise WireError("a request whose deadline is no number")
    start = _REQUEST_HEAD.size + named
    _refuse_rest(body, start + count * prod(shape))
    caller = str(body[_REQUEST_HEAD.size : start], "utf-8", "replace")
    pixels = np.frombuffer(body, dtype=np.uint8, offset=start).reshape(count, *shape)
    want = Want(_KINDS[kind], neighbours, bool(sources), bool(certificates))
    return ImagesRequest(number, want, deadline, caller, pixels)


def encode_model(model: ModelDescription) -> bytes:
    """A frame that describes a model, as JSON."""
    return frame(_MODEL_HEAD.pack(_MODEL), model.model_dump_json().encode())


def encode_backlog(backlog: Backlog) -> bytes:
    """A frame that says what is ahead of a newcomer."""
    return frame(_BACKLOG_BODY.pack(_BACKLOG, backlog.ends, backlog.queued, backlog.callers, backlog.per_image, backlog.alone))


def answers_size(slices: Sequence[BatchSlice], want: Want) -> int:
    """Bytes of the answers to one request, but for sources, which are not known before."""
    answers = slices[0].batch.answers
    images = sum([part.stop - part.start for part in slices])
    dim = answers.embeddings.shape[1] if want.kind == CallKind.EMBED else 0
    k = min(want.neighbours, answers.neighbours.ids.shape[1])
    figures = row_type(answers.probabilities.shape[1]).itemsize
    size: int = images * (figures + 4 * dim + (8 + 8 + 4) * k)
    return size


def encode_answers(number: int, slices: Sequence[BatchSlice], want: Want) -> bytes:
    """A frame of the answers to one request, all of one model, with what was wanted and nothing more."""
    first = slices[0].batch
    images = sum(part.stop - part.start for part in slices)
    dim = first.answers.embeddings.shape[1] if want.kind == CallKind.EMBED else 0
    k = min(want.neighbours, first.answers.neighbours.ids.shape[1])
    named = _encode_sources(slices, k) if k and want.sources else b""
    seconds = sum([part.seconds for part in slices])  # of several batches, as if they were one
    head = (_ANSWERS, number, slices[0].began, seconds, first.model.version, images, dim, k, len(named))
    parts = [_ANSWERS_HEAD.pack(*head)]
    parts += [part.batch.rows[part.start : part.stop].tobytes() for part in slices]
    if dim:
        parts += [part.batch.answers.embeddings[part.start : part.stop].tobytes() for part in slices]
    if k:
        for column in (_ids, _labels, _similarities):
            parts += [column(part.batch.answers)[part.start : part.stop, :k].tobytes() for part in slices]
    return frame(*parts, named)


def encode_refusal(number: int, error: Exception) -> bytes:
    """A frame that says why a request has no answers: the errors of core.request.InferenceBackend, else EngineError."""
    known = type(error) in _REASONS
    pause = error.retry_after if isinstance(error, QueueFullError) else 0.0
    return frame(_REFUSAL_HEAD.pack(_REFUSAL, number, pause, _REASONS.index(type(error)) if known else 0))


def decode_reply(body: memoryview, models: Mapping[int, ModelDescription]) -> Reply | ModelDescription | Backlog:
    """What the engine sent. The answers' embeddings and neighbours are of width 0 where they were not asked for.

    Args:
        body: one frame, without its length.
        models: those that the engine has described, by version.

    Raises:
        WireError: no message of the engine, not as long as it says, or of a model that was not described.

    """
    tag = body[0] if body else 0
    if tag == _MODEL:
        if bytes(body[-1:]) != b"}":  # white space behind it would be passed over
            raise WireError("a model that is not described as it has to be: something else is at its end")
        try:
            return ModelDescription.model_validate_json(bytes(body[_MODEL_HEAD.size :]))
        except ValidationError as error:
            raise WireError(f"a model that is not described as it has to be: {error.error_count()} faults") from None
    if tag == _REFUSAL:
        _, number, pause, reason = _unpack(_REFUSAL_HEAD, body)
        _refuse_rest(body, _REFUSAL_HEAD.size)
        if reason >= len(_REASONS):
            raise WireError(f"a refusal for the reason {reason}")
        error_type = _REASONS[reason]
        return Reply(number, error_type(pause) if issubclass(error_type, QueueFullError) else error_type())
    if tag == _BACKLOG:
        _, *backlog = _unpack(_BACKLOG_BODY, body)
        _refuse_rest(body, _BACKLOG_BODY.size)
        return Backlog(*backlog)
    if tag != _ANSWERS:
        raise WireError(f"the engine sends no message {tag}")
    _, number, began, seconds, version, count, dim, k, named = _unpack(_ANSWERS_HEAD, body)
    model = models.get(version)
    if model is None:
        raise WireError(f"answers of version {version}, which was not described")
    kind = row_type(len(model.class_names))
    end = _ANSWERS_HEAD.size + count * (kind.itemsize + 4 * dim + (8 + 8 + 4) * k)
    _refuse_rest(body, end + named)
    answers = _answers(body, kind, count, dim, k)
    sources = _decode_sources(body[end:], answers.neighbours.ids) if named else None
    return Reply(number, AnsweredBatch(model, answers, sources), began, seconds)


def _answers(body: memoryview, kind: "np.dtype[np.void]", count: int, dim: int, k: int) -> Answers:
    start = _ANSWERS_HEAD.size

    def column(dtype: Any, *shape: int) -> Any:
        nonlocal start
        size = prod(shape)
        values = np.frombuffer(body, dtype, size, start).reshape(shape) if size else np.empty(shape, dtype)
        start += values.nbytes
        return values

    rows = column(kind, count)
    embeddings = column(np.float32, count, dim)
    ids, labels, similarities = column(np.int64, count, k), column(np.int64, count, k), column(np.float32, count, k)
    return Answers(
        embeddings=embeddings,
        neighbours=Neighbours(ids, labels, similarities),
        **{name: rows[name] for name in kind.names or ()},
    )


class _SentSources:
    """Where the neighbours of one reply came from."""

    def __init__(self, by_id: Mapping[int, str]) -> None:
        self._by_id = by_id

    def of(self, ids: NDArray[np.int64]) -> list[str]:
        return [self._by_id.get(number, "") for number in ids.tolist()]


def _encode_sources(slices: Sequence[BatchSlice], k: int) -> bytes:
    """Where the neighbours came from, each exemplar once, by ascending id: a JSON list."""
    ids = _distinct(np.concatenate([_ids(part.batch.answers)[part.start : part.stop, :k] for part in slices]))
    return json.dumps(slices[0].batch.sources.of(ids)).encode()


def _decode_sources(body: memoryview, ids: NDArray[np.int64]) -> _SentSources:
    """What `_encode_sources` made of neighbours with these ids. Raises WireError where it did not."""
    try:
        names = json.loads(bytes(body))
        return _SentSources(dict(zip(_distinct(ids).tolist(), map(str, names), strict=True)))
    except (ValueError, TypeError) as error:
        raise WireError(f"sources that fit no neighbours: {error}") from None


def _distinct(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ids of neighbours that were found, each once, ascending."""
    return np.unique(ids[ids >= 0])


def _ids(answers: Answers) -> NDArray[Any]:
    return answers.neighbours.ids


def _labels(answers: Answers) -> NDArray[Any]:
    return answers.neighbour_labels


def _similarities(answers: Answers) -> NDArray[Any]:
    return answers.neighbours.similarities


def _unpack(head: struct.Struct, body: memoryview) -> tuple[int, ...]:
    if len(body) < head.size:
        raise WireError(f"a message of {len(body)} bytes, whose head alone has {head.size}")
    return head.unpack_from(body)


def _refuse_rest(body: memoryview, expected: int) -> None:
    if len(body) != expected:
        raise WireError(f"a message of {len(body)} bytes, which says that it has {expected}")
