"""Everything that can be wrong with a request, and what the caller is told."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1 import image_pb2
from tests.server.running import Serve, Served, refusal
from tests.server.tiny import coloured, png, raw

GOOD = raw(coloured(1, 1, seed=1)[0])


def png_bomb(width: int, height: int) -> bytes:
    """A PNG that says it is very large, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "GIF")
    return buffer.getvalue()


def raw_of(shape: tuple[int, ...], length: int, dtype: Any = image_pb2.DATA_TYPE_UINT8) -> image_pb2.Image:
    return image_pb2.Image(raw=image_pb2.RawImage(data=bytes(length), shape=shape, dtype=dtype))


WHOLE = png(coloured(0, 1, seed=0)[0])
BAD = {
    "nothing": (image_pb2.Image(), "source", "send encoded bytes"),
    "empty": (image_pb2.Image(encoded=b""), "encoded", "empty"),
    "text": (image_pb2.Image(encoded=b"hello there, I am not an image"), "encoded", "not a PNG, JPEG or WebP"),
    "gif": (image_pb2.Image(encoded=gif()), "encoded", "not a PNG, JPEG or WebP"),
    "truncated": (image_pb2.Image(encoded=WHOLE[: len(WHOLE) // 2]), "encoded", "cannot be decoded"),
    "header only": (image_pb2.Image(encoded=WHOLE[:20]), "encoded", ""),
    "bomb": (image_pb2.Image(encoded=png_bomb(50_000, 50_000)), "encoded", ""),
    "large": (image_pb2.Image(encoded=png_bomb(5_000, 5_000)), "encoded", "the limit is 16777216"),
    "no shape": (raw_of((), 0), "raw.shape", "send [h, w]"),
    "one side": (raw_of((12,), 12), "raw.shape", "send [h, w]"),
    "four sides": (raw_of((1, 2, 2, 3), 12), "raw.shape", "send [h, w]"),
    "zero side": (raw_of((0, 4, 3), 0), "raw.shape", "sides of 1 or more"),
    "negative side": (raw_of((-4, -4, 3), 48), "raw.shape", "sides of 1 or more"),
    "two channels": (raw_of((4, 4, 2), 32), "raw.shape", "send [h, w]"),
    "huge shape": (raw_of((2**31 - 1, 2**31 - 1, 3), 48), "raw.shape", "the limit is"),
    "too few bytes": (raw_of((4, 4, 3), 47), "raw.data", "needs 48"),
    "too many bytes": (raw_of((4, 4), 17), "raw.data", "needs 16"),
    "no dtype": (raw_of((4, 4), 16, image_pb2.DATA_TYPE_UNSPECIFIED), "raw.dtype", "only DATA_TYPE_UINT8"),
    "unknown dtype": (raw_of((4, 4), 16, 9), "raw.dtype", "data type 9"),
}


def violation(error: Any) -> error_details_pb2.BadRequest.FieldViolation:
    """The field violation in a google.rpc.Status, or in the status of an RPC error."""
    status = rpc_status.from_call(error) if isinstance(error, grpc.RpcError) else error
    assert status is not None
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    details = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(details)
    (found,) = details.field_violations
    return found


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_alone_fails_the_call(served: Served, name: str) -> None:
    image, field, words = BAD[name]
    before = served.metric("holdfast_rejected_images_total", field=field)
    for call, request in (
        (served.stub.Classify, pb.ClassifyRequest(images=[image])),
        (served.stub.Embed, pb.EmbedRequest(images=[image])),
    ):
        error = refusal(lambda call=call, request=request: call(request))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        found = violation(error)
        assert found.field == f"images[0].{field}"
        assert words in found.description
        assert found.field in (error.details() or "")
    assert served.metric("holdfast_rejected_images_total", field=field) == before + 2


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_among_many_fails_alone(served: Served, name: str) -> None:
    image, field, words = BAD[name]
    results = served.stub.Classify(pb.ClassifyRequest(images=[GOOD, image, GOOD])).results
    assert [r.WhichOneof("outcome") for r in results] == ["answer", "error", "answer"]
    assert results[0].answer.label.name == results[2].answer.label.name == "green"
    found = violation(results[1].error)
    assert found.field == f"images[1].{field}"
    assert words in found.description


def test_the_number_of_images_is_limited(served: Served) -> None:
    for images in ([], [GOOD] * (served.app.settings.max_images + 1)):
        error = refusal(lambda images=images: served.stub.Classify(pb.ClassifyRequest(images=images)))
        assert violation(error).field == "images"


def test_a_message_beyond_the_limit_is_refused(serve: Serve) -> None:
    served = serve(max_message_bytes=10_000)
    error = refusal(lambda: served.stub.Classify(pb.ClassifyRequest(images=[raw_of((100, 100, 3), 30_000)])))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_odd_images_never_kill_the_server(served: Served, shared_data: Path) -> None:
    files = sorted(
        p for p in (shared_data / "odd-images").rglob("*") if p.is_file() and p.suffix not in {".md", ".tsv", ".txt"}
    )
    assert len(files) > 100
    answered = 0
    for path in files:
        try:
            served.stub.Classify(pb.ClassifyRequest(images=[image_pb2.Image(encoded=path.read_bytes())]), timeout=20)
            answered += 1
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, f"{path.name}: {error.details()}"
            assert violation(error).field == "images[0].encoded", path.name
    assert 20 < answered < len(files)
    assert served.stub.Classify(pb.ClassifyRequest(images=[GOOD])).results[0].answer.label.name == "green"
