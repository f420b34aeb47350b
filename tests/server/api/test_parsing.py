"""Messages that cannot be read, or that nobody would want to: told so, counted, and cheap."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protos.holdfast.admin.v1 import admin_pb2
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from holdfast.server.api.parsing import SHORT_BYTES, TooManyPartsError, count_parts
from tests.server.running import Serve, Served, refusal, wait_for
from tests.server.tiny import coloured, raw

CLASSIFY, STREAM = "/holdfast.v1.HoldfastService/Classify", "/holdfast.v1.HoldfastService/ClassifyStream"
UNREADABLE = b"\xff" * 100
IMAGE = raw(coloured(1, 1, seed=1)[0])


def field(number: int, content: bytes) -> bytes:
    """One field of the wire format that holds bytes."""
    length, size = len(content), bytearray()
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | 2]) + bytes(size) + bytes([length]) + content


BOMBS = {
    "empty images": field(1, b"") * (SHORT_BYTES // 2 + 1),
    "numbers of neighbours": bytes([2 << 3, 1]) * (SHORT_BYTES // 2 + 1),
    "an image with many sources": field(1, field(2, b"") * (SHORT_BYTES // 2 + 1)),
    "a shape of many sides": field(1, field(2, field(2, b"\x01" * (2**20 + 1)))),
    "shapes of many sides": field(1, field(2, field(2, b"\x01" * 1000))) * 1100,
    "what nobody knows": field(9, b"") * (SHORT_BYTES // 2 + 1),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_message_of_too_many_parts_is_not_parsed(served: Served, name: str) -> None:
    before = served.metric("holdfast_unreadable_messages_total", reason="parts")
    error = refusal(lambda: served.channel.unary_unary(CLASSIFY)(BOMBS[name], timeout=10))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert served.metric("holdfast_unreadable_messages_total", reason="parts") == before + 1


def test_as_many_images_as_a_call_may_have_are_read(served: Served) -> None:
    request = pb.ClassifyRequest(images=[IMAGE] * 256, neighbours=1)
    assert len(request.SerializeToString()) > SHORT_BYTES
    assert len(served.stub.Classify(request).results) == 256


def test_what_cannot_be_decoded_is_told_counted_and_a_line_now_and_then(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve()
    calls = [server.channel.unary_unary(CLASSIFY).future(UNREADABLE) for _ in range(50)]
    assert {call.code() for call in calls} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert server.metric("holdfast_unreadable_messages_total", reason="undecodable") == 50
    assert server.metric("grpc_server_handled_total", grpc_method="Classify", grpc_code="INVALID_ARGUMENT") == 50
    assert len([record for record in caplog.records if record.name.endswith("parsing")]) < 10
    assert not [record for record in caplog.records if record.exc_info]


def test_a_stream_answers_what_came_before(served: Served) -> None:
    def requests() -> Iterator[bytes]:
        yield pb.ClassifyStreamRequest(sequence=7, images=[IMAGE]).SerializeToString()
        yield UNREADABLE
        yield pb.ClassifyStreamRequest(sequence=8, images=[IMAGE]).SerializeToString()

    replies: Any = served.channel.stream_stream(STREAM)(requests(), timeout=20)
    assert pb.ClassifyStreamResponse.FromString(next(replies)).sequence == 7
    error = refusal(lambda: next(replies))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_other_calls_go_on_beside_messages_of_many_parts(served: Served) -> None:
    bomb = field(1, b"") * 2**22
    call = served.channel.unary_unary(CLASSIFY).future(bomb, timeout=30)
    wait_for(lambda: served.stub.Classify(pb.ClassifyRequest(images=[IMAGE])).results and call.done())
    assert call.code() is grpc.StatusCode.INVALID_ARGUMENT


def fields_in(message: Message) -> int:
    """How many fields are on the wire, those of the messages in it included."""
    count = 0
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            each = list(value) if descriptor.is_repeated else [value]
            count += len(each) + sum(map(fields_in, each))
        else:
            packed = descriptor.is_repeated and descriptor.type not in {descriptor.TYPE_STRING, descriptor.TYPE_BYTES}
            count += len(value) if descriptor.is_repeated and not packed else 1
    return count


SIDES = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)
IMAGES = st.one_of(
    st.builds(lambda data: image_pb2.Image(encoded=data), st.binary(max_size=9)),
    st.builds(
        lambda data, shape: image_pb2.Image(raw=image_pb2.RawImage(data=data, shape=shape)), st.binary(max_size=9), SIDES
    ),
)


@given(st.lists(IMAGES, max_size=6), st.integers(0, 2**32 - 1))
def test_parts_are_the_fields_of_a_message(images: list[image_pb2.Image], neighbours: int) -> None:
    request = pb.ClassifyRequest(images=images, neighbours=neighbours)
    message, parts = request.SerializeToString(), fields_in(request)
    assert count_parts(message, request.DESCRIPTOR, parts) == parts
    if parts:
        with pytest.raises(TooManyPartsError):
            count_parts(message, request.DESCRIPTOR, parts - 1)


@given(st.binary(max_size=200))
def test_any_bytes_are_counted_to_an_end(message: bytes) -> None:
    for descriptor in (pb.ClassifyRequest.DESCRIPTOR, admin_pb2.AddExemplarsRequest.DESCRIPTOR):
        with suppress(TooManyPartsError):
            assert count_parts(message, descriptor, 50) <= 50
