"""What goes over a data link: images from a worker to the engine, answers back.

Each message is one frame: a fixed head, then arrays as they lie in memory. A call's figures are one slice of rows of its batch
(`Batch.rows`), so that the engine's work for a reply does not grow with the number of columns; embeddings and neighbours
follow only where they were asked for. Nothing is pickled.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Answers, Neighbours
from holdfast.model.preprocess import Pixels
from holdfast.server.core.errors import DeadlineError, DrainingError, EngineError, QueueFullError
from holdfast.server.core.request import BatchSlice, Images, Kind, Wanted
from holdfast.server.core.result import Batch, row_type
from holdfast.server.workers.frames import WireError, frame

_REQUEST, _CANCEL, _ANSWERS, _REFUSAL = range(1, 5)
_REQUEST_HEAD = struct.Struct("=BQBIdI")  # tag, number, kind, neighbours, deadline, images
_CANCEL_HEAD = struct.Struct("=BQ")  # tag, number
_ANSWERS_HEAD = struct.Struct("=BQdIII")  # tag, number, pause, images, dimensions, neighbours
_REFUSAL_HEAD = struct.Struct("=BQdB")  # tag, number, pause, reason

HEAD = max(_REQUEST_HEAD.size, _ANSWERS_HEAD.size)
"""Bytes of the longest head."""

_KINDS = tuple(Kind)  # looked up at every request: quicker than by value
_REASONS: tuple[type[Exception], ...] = (EngineError, DeadlineError, DrainingError, QueueFullError)


@dataclass(frozen=True, slots=True)
class Request:
    """Images to be answered.

    Attributes:
        number: the worker's own, by which the reply is known.
        wanted: what has to be in the answers.
        deadline: on time.monotonic()'s clock, which the processes of one machine share.
        images: uint8 [N, H, W, C], a view of the frame.

    """

    number: int
    wanted: Wanted
    deadline: float
    images: Pixels


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for that request any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a request.

    Attributes:
        number: the request's.
        pause: seconds after which whom the worker refuses may try again, as the engine sees it.
        outcome: the answers, or why there are none.

    """

    number: int
    pause: float
    outcome: Answers | Exception


def encode_request(number: int, wanted: Wanted, deadline: float, images: Images) -> bytes:
    """A frame of at least one image, all of one shape."""
    head = _REQUEST_HEAD.pack(_REQUEST, number, wanted.kind, min(wanted.neighbours, 2**32 - 1), deadline, len(images))
    return frame(head, images) if isinstance(images, np.ndarray) else frame(head, *images)


def encode_cancel(number: int) -> bytes:
    """A frame that takes a request back."""
    return frame(_CANCEL_HEAD.pack(_CANCEL, number))


def decode_request(body: memoryview, shape: tuple[int, int, int]) -> Request | Cancel:
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
    _, number, kind, neighbours, deadline, count = _unpack(_REQUEST_HEAD, body)
    if kind >= len(_KINDS) or count == 0:
        raise WireError(f"a request of kind {kind} and of {count} images")
    if isnan(deadline):
        raise WireError("a request whose deadline is no number")
    _refuse_rest(body, _REQUEST_HEAD.size + count * prod(shape))
    pixels = np.frombuffer(body, dtype=np.uint8, offset=_REQUEST_HEAD.size).reshape(count, *shape)
    return Request(number, Wanted(_KINDS[kind], neighbours), deadline, pixels)


def encode_answers(number: int, pause: float, shares: Sequence[BatchSlice[Batch]], wanted: Wanted) -> bytes:
    """A frame of the answers to one request, with what it wanted and nothing more."""
    first = shares[0].batch.answers
    images = sum(share.stop - share.start for share in shares)
    dim = first.embeddings.shape[1] if wanted.kind == Kind.EMBED else 0
    k = min(wanted.neighbours, first.neighbours.ids.shape[1])
    parts = [_ANSWERS_HEAD.pack(_ANSWERS, number, pause, images, dim, k)]
    parts += [share.batch.rows[share.start : share.stop].tobytes() for share in shares]
    if dim:
        parts += [share.batch.answers.embeddings[share.start : share.stop].tobytes() for share in shares]
    if k:
        for column in (_ids, _labels, _similarities):
            parts += [column(share.batch.answers)[share.start : share.stop, :k].tobytes() for share in shares]
    return frame(*parts)


def encode_refusal(number: int, pause: float, error: Exception) -> bytes:
    """A frame that says why a request has no answers: the errors of server.answering.InferenceBackend, else EngineError."""
    known = type(error) in _REASONS
    if isinstance(error, QueueFullError):
        pause = error.retry_after
    return frame(_REFUSAL_HEAD.pack(_REFUSAL, number, pause, _REASONS.index(type(error)) if known else 0))


def decode_reply(body: memoryview, classes: int) -> Reply:
    """What the engine sent. The answers' embeddings and neighbours are of width 0 where they were not asked for.

    Args:
        body: one frame, without its length.
        classes: C, how many there are.

    Raises:
        WireError: no message of the engine, or not as long as it says.

    """
    tag = body[0] if body else 0
    if tag == _REFUSAL:
        _, number, pause, reason = _unpack(_REFUSAL_HEAD, body)
        _refuse_rest(body, _REFUSAL_HEAD.size)
        if reason >= len(_REASONS):
            raise WireError(f"a refusal for the reason {reason}")
        error = _REASONS[reason]
        return Reply(number, pause, QueueFullError(pause) if error is QueueFullError else error())
    if tag != _ANSWERS:
        raise WireError(f"the engine sends no message {tag}")
    _, number, pause, count, dim, k = _unpack(_ANSWERS_HEAD, body)
    kind = row_type(classes)
    _refuse_rest(body, _ANSWERS_HEAD.size + count * (kind.itemsize + 4 * dim + (8 + 8 + 4) * k))
    return Reply(number, pause, _answers(body, kind, count, dim, k))


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
