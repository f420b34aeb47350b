"""What a refused call leaves in memory: nothing of its message, though gRPC keeps the call until the collector runs."""

import gc
from collections.abc import Iterator

import grpc
import pytest

from bench.hostile.images import flat_png
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from tests.server.running import Serve, Served, refusal

IMAGE = image_pb2.Image(encoded=b"no image")


def send(served: Served, images: list[image_pb2.Image]) -> grpc.RpcError:
    """Send a call as bytes, so that every message that there is in this process is the server's."""
    serialised = pb.ClassifyRequest(images=images).SerializeToString()
    return refusal(lambda: served.channel.unary_unary("/holdfast.v1.HoldfastService/Classify")(serialised))


@pytest.fixture
def garbage() -> Iterator[list[object]]:
    """What only the garbage collector frees, from here on."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize("images", [0, 1, 5])
def test_a_refused_message_is_not_kept(serve: Serve, garbage: list[object], images: int) -> None:
    served = serve(max_images=4)
    for _ in range(3):
        refused = send(served, images * [IMAGE])
        assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT
    served.loop.call(gc.collect)
    assert [each for each in garbage if isinstance(each, pb.ClassifyRequest)] == []


def test_a_message_that_there_is_no_room_for_is_not_kept(serve: Serve, garbage: list[object]) -> None:
    served = serve(max_images=4, decode_call_limit=1e-9, decode_inline=0)
    flat = image_pb2.Image(encoded=flat_png(900, 900))
    assert send(served, [flat]).code() == grpc.StatusCode.INVALID_ARGUMENT
    served.loop.call(gc.collect)
    assert [each for each in garbage if isinstance(each, pb.ClassifyRequest)] == []
