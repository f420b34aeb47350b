"""Everything that can be wrong with a request, and what the caller is told."""

import io
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from bundle.classifier import Answers, Classifier
from protos.holdfast.v1 import holdfast_pb2 as pb
from protos.holdfast.v1 import image_pb2
from server.errors import PUSHBACK_KEY
from tests.server.running import Serve, Served
from tests.server.tiny import Pixels, coloured, png, raw

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
    "nothing": (image_pb2.Image(), "source", "send encoded bytes or raw pixels"),
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


def refusal(call: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


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


class Gate:
    """Holds the model until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.entered = threading.Event(), threading.Event()
        self.batches: list[int] = []
        classify, gate = Classifier.classify, self

        def held(classifier: Classifier, images: Pixels) -> Answers:
            gate.batches.append(len(images))
            gate.entered.set()
            assert gate.open.wait(20)
            return classify(classifier, images)

        monkeypatch.setattr(Classifier, "classify", held)


@pytest.fixture
def busy(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server with room for 4 images, whose model is held on the first of them."""
    served = serve(queue_images=4, max_images=4, max_batch=2, max_wait=0)
    gate = Gate(monkeypatch)
    first = served.stub.Classify.future(pb.ClassifyRequest(images=[GOOD]))
    assert gate.entered.wait(10)
    yield served, gate
    gate.open.set()
    assert first.result(10).results[0].answer.label.name == "green"


def test_a_full_queue_refuses_quickly_and_says_when_to_come_back(busy: tuple[Served, Gate]) -> None:
    served, gate = busy
    waiting = served.stub.Classify.future(pb.ClassifyRequest(images=[GOOD] * 3))
    await_metric(served, "holdfast_admitted_images", 4)
    began = time.monotonic()
    error: Any = refusal(lambda: served.stub.Classify(pb.ClassifyRequest(images=[GOOD])))
    assert time.monotonic() - began < 0.5
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(error)
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(retry)
    pushback = dict(error.trailing_metadata())[PUSHBACK_KEY]
    assert int(pushback) == retry.retry_delay.ToMilliseconds() >= 10
    assert served.metric("holdfast_refused_images_total") == 1
    gate.open.set()
    assert len(waiting.result(10).results) == 3


def test_a_stream_hears_of_a_full_queue_and_goes_on(busy: tuple[Served, Gate]) -> None:
    served, gate = busy
    requests = (pb.ClassifyStreamRequest(sequence=n, images=[GOOD, GOOD]) for n in range(3))
    replies = served.stub.ClassifyStream(requests)
    refused = [next(replies), next(replies)]
    assert all(r.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0] for r in refused)
    gate.open.set()
    (answered,) = replies
    assert len(answered.results) == 2


def test_a_deadline_in_the_queue_is_honoured(busy: tuple[Served, Gate]) -> None:
    served, gate = busy
    error = refusal(lambda: served.stub.Classify(pb.ClassifyRequest(images=[GOOD]), timeout=0.2))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await_metric(served, "holdfast_admitted_images", 1)
    gate.open.set()
    served.stub.Classify(pb.ClassifyRequest(images=[GOOD]))
    assert gate.batches == [1, 1]  # the late image never reached the model
    labels = {"grpc_method": "Classify", "grpc_code": "DEADLINE_EXCEEDED"}
    assert served.metric("grpc_server_handled_total", **labels) == 1


def test_a_cancelled_call_is_dropped(busy: tuple[Served, Gate]) -> None:
    served, gate = busy
    call = served.stub.Classify.future(pb.ClassifyRequest(images=[GOOD, GOOD]))
    await_metric(served, "holdfast_admitted_images", 3)
    call.cancel()
    await_metric(served, "holdfast_admitted_images", 1)
    gate.open.set()
    served.stub.Classify(pb.ClassifyRequest(images=[GOOD]))
    assert gate.batches == [1, 1]
    assert served.metric("holdfast_cancelled_images_total") == 2
    assert served.metric("grpc_server_handled_total", grpc_method="Classify", grpc_code="CANCELLED") == 1


def test_a_model_that_fails_fails_its_batch_alone(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve(max_wait=0)
    with monkeypatch.context() as broken:
        broken.setattr(Classifier, "classify", lambda *_: 1 / 0)
        error = refusal(lambda: served.stub.Classify(pb.ClassifyRequest(images=[GOOD])))
        assert error.code() == grpc.StatusCode.INTERNAL
        assert "division" not in (error.details() or "")
    assert served.stub.Classify(pb.ClassifyRequest(images=[GOOD])).results[0].answer.label.name == "green"
    assert served.metric("holdfast_engine_failures_total") == 1
    assert served.app.batcher.alive()


def test_concurrent_callers_share_batches(served: Served) -> None:
    def call(seed: int) -> str:
        (image,) = coloured(seed % 3, 1, seed=seed)
        return served.stub.Classify(pb.ClassifyRequest(images=[raw(image)])).results[0].answer.label.name

    before = [served.metric(f"holdfast_batch_images_{what}") for what in ("count", "sum")]
    with ThreadPoolExecutor(16) as callers:
        names = list(callers.map(call, range(300)))
    assert names == ["red", "green", "blue"] * 100
    batches, images = (served.metric(f"holdfast_batch_images_{w}") - b for w, b in zip(("count", "sum"), before, strict=True))
    assert images == 300
    assert batches < 300


def await_metric(served: Served, name: str, value: float) -> None:
    give_up = time.monotonic() + 5
    while served.metric(name) != value:
        assert time.monotonic() < give_up, f"{name} is {served.metric(name)}, not {value}"
        time.sleep(0.01)
