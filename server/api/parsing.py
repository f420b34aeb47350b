"""Messages are parsed inside of a call: what cannot be read has a status, a metric and a line in the log, and costs little.

A message of 16 MiB may hold eight million empty images: a second of the event loop and 400 MB, for a call that has too many
of them. So the parts of a long message are counted before it is parsed, no further than a call may have.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from holdfast.server.api.interceptors import Around, Behaviour, Context, handler_of, kind_of
from holdfast.server.core.errors import UnreadableError
from holdfast.server.metrics.metrics import Metrics

log = logging.getLogger(__name__)

SHORT_BYTES = 2**16
"""Bytes of a message that is parsed unseen: a few milliseconds, whatever it holds."""

PARTS_PER_IMAGE, PARTS = 16, 1024
"""Fields of a message, those of its parts included: for each image that a call may have, and for all else."""

NUMBERS = 2**20
"""Bytes of lists of numbers in one message: shapes, ids, or the pixels of a small image."""

LINE_EVERY_S = 1.0
"""Seconds between two lines of the log about messages that cannot be read."""


_FIXED = {1: 8, 5: 4}
"""Bytes of a field, by its kind on the wire."""


class TooManyPartsError(Exception):
    """A message has more parts than any call needs."""


class Parse(Around):
    """Parses the messages of each method. The innermost: who may not call, or comes while the server drains, is refused before.

    A message of a stream that cannot be read ends the stream, once what came before it is answered.

    Args:
        images: most of them in one call.
        metrics: of this process.

    """

    def __init__(self, images: int, metrics: Metrics) -> None:
        super().__init__()
        self._most = PARTS_PER_IMAGE * images + PARTS
        self._metrics, self._unsaid, self._next_line = metrics, 0, 0.0

    def around(self, inner: Behaviour, method: str, kind: str) -> Behaviour:
        """Nothing: `_wrap` does it, for it knows how the messages of a method are parsed."""
        raise NotImplementedError

    def _wrap(self, handler: Any, method: str) -> Any:
        parse = handler.request_deserializer
        inner = self.behaviour_of(handler)
        if parse is None:  # the method takes bytes
            return handler_of(inner, handler, request_deserializer=None)

        async def parsed(request: bytes, context: Context) -> Any:
            return await inner(self._read(request, parse, method, context), context)

        async def streamed(requests: AsyncIterator[bytes], context: Context) -> Any:
            faults: list[UnreadableError] = []

            async def messages() -> AsyncIterator[Any]:
                async for request in requests:
                    try:
                        message = self._read(request, parse, method, context)
                    except UnreadableError as error:
                        faults.append(error)
                        return
                    yield message

            response = await inner(messages(), context)
            if faults:
                raise faults[0]
            return response

        of_requests = kind_of(handler) in {"client_stream", "bidi_stream"}
        return handler_of(streamed if of_requests else parsed, handler, request_deserializer=None)

    def _read(self, request: bytes, parse: Callable[[bytes], Any], method: str, context: Context) -> Any:
        try:
            if len(request) > SHORT_BYTES and (descriptor := _descriptor_of(parse)) is not None:
                count_parts(request, descriptor, self._most)
            return parse(request)
        except DecodeError:
            self._tell("undecodable", method, context)
            raise UnreadableError("the message is none of this method: it cannot be decoded") from None
        except TooManyPartsError:
            self._tell("parts", method, context)
            raise UnreadableError("the message has more parts than a call with as many images as one may have") from None

    def _tell(self, reason: str, method: str, context: Context) -> None:
        self._metrics.unreadable.labels(reason).inc()
        self._unsaid += 1
        now = time.monotonic()
        if now >= self._next_line:
            log.warning("%d messages could not be read; the latest to %s, from %s", self._unsaid, method, context.peer())
            self._next_line, self._unsaid = now + LINE_EVERY_S, 0


def _descriptor_of(parse: Callable[[bytes], Any]) -> Descriptor | None:
    """What the messages are that a function parses; None where it is no message's own."""
    descriptor = getattr(getattr(parse, "__self__", None), "DESCRIPTOR", None)
    return descriptor if isinstance(descriptor, Descriptor) else None


def count_parts(message: bytes, descriptor: Descriptor, most: int) -> int:
    """How many fields a serialised message has, those of the messages in it included.

    Stops where it is no message: then parsing it ends there, too.

    Raises:
        TooManyPartsError: more than `most`, or more than NUMBERS bytes of lists of numbers.

    """
    parts = numbers = 0
    ahead = [(0, len(message), _fields_of(descriptor))]
    while ahead:
        at, end, (inner, lists) = ahead.pop()
        while at < end:
            parts += 1
            if parts > most or numbers > NUMBERS:
                raise TooManyPartsError
            tag, at = _varint(message, at)
            kind, number = tag & 7, tag >> 3
            if kind == 2:
                length, at = _varint(message, at)
                if number in inner:
                    if length:
                        ahead.append((at, min(at + length, end), _fields_of(inner[number])))
                elif number in lists:
                    numbers += length
                at += length
            elif kind == 0:
                _, at = _varint(message, at)
            else:  # a fixed number of bytes; or the begin or the end of a group, which ours do not have
                at += _FIXED.get(kind, 0)
    if numbers > NUMBERS:
        raise TooManyPartsError
    return parts


@cache
def _fields_of(descriptor: Descriptor) -> tuple[dict[int, Descriptor], frozenset[int]]:
    """By number, the fields of a message that are messages; and those that are lists of numbers."""
    inner = {field.number: field.message_type for field in descriptor.fields if field.message_type is not None}
    texts = {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
    lists = {f.number for f in descriptor.fields if f.is_repeated and f.message_type is None and f.type not in texts}
    return inner, frozenset(lists)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of the wire format, and where it ends; at the end of the message where it is cut off."""
    if at < len(message) and (value := message[at]) < 0x80:  # most are a byte
        return value, at + 1
    value = shift = 0
    for byte in message[at : at + 10]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return value, len(message)
