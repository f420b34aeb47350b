"""Both clients against a real gRPC server whose answers are known, with every error the real one gives."""

import ast
import asyncio
import json
import subprocess
import sys
import threading
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

import holdfast.client as holdfast
from holdfast.client.__main__ import main
from holdfast.client.errors import from_status
from holdfast.client.messages import CALL_BYTES, CallLimits, in_calls
from holdfast.protos.holdfast.v1 import answer_pb2, holdfast_pb2, holdfast_pb2_grpc, image_pb2, model_pb2

PIXELS = np.zeros((2, 2, 3), np.uint8)
BAD, FULL, SLOW = b"bad", b"full", b"slow"
ADD_HEALTH = health_pb2_grpc.add_HealthServicer_to_server


def status_of(code, message, detail):
    packed = AnyMessage()
    packed.Pack(detail)
    return status_pb2.Status(code=code, message=message, details=[packed])


BAD_STATUS = status_of(
    code_pb2.INVALID_ARGUMENT,
    "bad image",
    error_details_pb2.BadRequest(
        field_violations=[{"field": "images[0].encoded", "description": "is not a PNG, JPEG or WebP image"}]
    ),
)
FULL_STATUS = status_of(
    code_pb2.RESOURCE_EXHAUSTED, "queue full", error_details_pb2.RetryInfo(retry_delay=Duration(nanos=250_000_000))
)


class Known(holdfast_pb2_grpc.HoldfastServiceServicer):
    """Labels an image by its number of bytes, so that order can be checked."""

    def __init__(self, **limits):
        self.calls = []
        self.streamed = self.looks = 0
        self.limits = model_pb2.Limits(**limits)

    def _result(self, image, neighbours):
        data = image.encoded or image.raw.data
        if data == BAD:
            return answer_pb2.ClassifyResult(error=BAD_STATUS)
        near = [answer_pb2.Neighbour(id=n, label={"index": 1, "name": "dog"}, similarity=0.5) for n in range(neighbours)]
        answer = answer_pb2.Classification(
            label=answer_pb2.Label(index=1, name=f"{len(data)} bytes"),
            probabilities=[0.25, 0.75],
            credibility=None if data == b"uncalibrated" else 0.5,
            abstain=True,
            soft_margin=-1.5,
            neighbours=near,
        )
        return answer_pb2.ClassifyResult(answer=answer)

    def Classify(self, request, context):  # noqa: N802
        self.calls.append(len(request.images))
        first = request.images[0].encoded
        if first == FULL:
            context.abort_with_status(rpc_status.to_status(FULL_STATUS))
        if first == SLOW:  # until the caller has given up
            left = threading.Event()
            context.add_callback(left.set)
            left.wait(20)
        if len(request.images) == 1 and first == BAD:
            context.abort_with_status(rpc_status.to_status(BAD_STATUS))
        results = [self._result(image, request.neighbours) for image in request.images]
        return holdfast_pb2.ClassifyResponse(results=results)

    def ClassifyStream(self, request_iterator, context):  # noqa: N802
        held = None
        for request in request_iterator:
            self.streamed += 1
            if request.images[0].encoded == FULL:
                yield holdfast_pb2.ClassifyStreamResponse(sequence=request.sequence, error=FULL_STATUS)
                continue
            results = [self._result(image, request.neighbours) for image in request.images]
            reply = holdfast_pb2.ClassifyStreamResponse(sequence=request.sequence, results=results)
            if held is None:  # the first reply comes after the second: order is not promised
                held = reply
                continue
            yield reply
            if held != ():
                yield held
                held = ()
        if held:
            yield held

    def Embed(self, request, context):  # noqa: N802
        results = [
            answer_pb2.EmbedResult(error=BAD_STATUS)
            if i.encoded == BAD
            else answer_pb2.EmbedResult(embedding=answer_pb2.Embedding(values=[0.6, 0.8]))
            for i in request.images
        ]
        return holdfast_pb2.EmbedResponse(results=results)

    def GetModelInfo(self, request, context):  # noqa: N802
        self.looks += 1
        return holdfast_pb2.GetModelInfoResponse(
            name="known",
            encoder_sha256="ab" * 32,
            input=model_pb2.ImageShape(height=32, width=32, channels=3),
            embedding_dim=2,
            class_names=["cat", "dog"],
            exemplars=1234,
            vote=model_pb2.Vote(k=75, weighting=model_pb2.VOTE_WEIGHTING_UNIFORM),
            threat_model=model_pb2.ThreatModel(norm=model_pb2.NORM_LINF, epsilon=8 / 255),
            accuracy=model_pb2.Accuracy(
                clean=0.95, robust=0.5, norm=model_pb2.NORM_LINF, epsilon=8 / 255, attack="PGD", images=300
            ),
            limits=self.limits,
        )


@pytest.fixture
def servicer():
    return Known(images_per_call=64)


@pytest.fixture
def healthy():
    return health.HealthServicer()


@contextmanager
def serving(*servicers, options=()):
    server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
    for servicer in servicers:
        add = holdfast_pb2_grpc.add_HoldfastServiceServicer_to_server if isinstance(servicer, Known) else ADD_HEALTH
        add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def address(servicer, healthy):
    with serving(servicer, healthy) as where:
        yield where


class Blocking:
    """The asynchronous client, driven from tests of the blocking one: both keep the same promises."""

    def __init__(self, address, timeout=10.0):
        self.loop = asyncio.new_event_loop()
        self.client = self.loop.run_until_complete(self._make(address, timeout))

    async def _make(self, address, timeout):  # noqa: ASYNC109 - of each call, not of this
        return await holdfast.AsyncClient(address, timeout=timeout).__aenter__()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.loop.run_until_complete(self.client.__aexit__(*exception))
        self.loop.close()

    def __getattr__(self, name):
        if name == "stream":
            return lambda *a, **k: iter(self.loop.run_until_complete(self._drain(self.client.stream(*a, **k))))
        return lambda *a, **k: self.loop.run_until_complete(getattr(self.client, name)(*a, **k))

    async def _drain(self, stream):
        return [item async for item in stream]


@pytest.fixture(params=[holdfast.Client, Blocking], ids=["sync", "async"])
def connect(request):
    return request.param


def test_one_image_in_each_form(connect, address, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(b"12345")
    with connect(address) as c:
        assert [c.classify(i).label for i in (b"123", path, PIXELS)] == ["3 bytes", "5 bytes", "12 bytes"]
        answer = c.classify(PIXELS, neighbours=2)
    assert answer.probability == 0.75
    assert answer.abstain
    assert answer.soft_margin == -1.5
    assert answer.neighbours == (holdfast.Neighbour(0, "dog", 0.5), holdfast.Neighbour(1, "dog", 0.5))


def test_what_is_no_image_is_refused_before_it_is_sent(connect, address, servicer):
    with connect(address) as c:
        with pytest.raises(TypeError, match="float64"):
            c.classify(np.zeros((2, 2)))
        with pytest.raises(TypeError, match="uint8"):
            c.classify("cat.png")
    assert servicer.calls == []


def test_many_images_keep_their_order_over_several_calls_and_a_bad_one_fails_alone(connect, address, servicer):
    sent = [b"x" * n for n in range(1, 8)]
    sent[2] = BAD
    with connect(address) as c:
        outcomes = c.classify_many(sent, per_call=3)
        assert servicer.calls == [3, 3, 1]
        bad = outcomes.pop(2)
        assert [o.label for o in outcomes] == [f"{n} bytes" for n in (1, 2, 4, 5, 6, 7)]
        assert isinstance(bad, holdfast.ImageRefusedError)
        assert bad.violations == (("images[0].encoded", "is not a PNG, JPEG or WebP image"),)
        alone = c.classify_many([BAD, b"12"], per_call=1)
    assert isinstance(alone[0], holdfast.ImageRefusedError)
    assert alone[1].label == "2 bytes"


def test_calls_stay_below_the_message_limit():
    call_sizes = [len(c) for c in in_calls([bytes(CALL_BYTES // 3)] * 7, per_call=100)]
    assert sum(call_sizes) == 7
    assert max(call_sizes) == 2
    assert [len(c) for c in in_calls([bytes(2 * CALL_BYTES)] * 2, per_call=100)] == [1, 1]
    assert list(in_calls([], per_call=3)) == []


def test_calls_stay_below_the_limits_of_a_server_that_takes_less(connect):
    """As large as it takes, and no larger: the limits of this one are gRPC's own, not only what it says."""
    servicer = Known(images_per_call=5, message_bytes=2000)
    limit = ("grpc.max_receive_message_length", 2000)
    with serving(servicer, options=[limit]) as address, connect(address) as c:
        outcomes = c.classify_many([b"x" * n for n in (*range(1, 8), 900, 900, 150, 1900, 2100, 3)], neighbours=1)
        assert c.embed([b"x" * 900] * 3).shape == (3, 2)
        assert c.classify_many([b"x"] * 6)
    assert servicer.calls == [5, 4, 1, 1, 1, 5, 1]
    labels = [type(o) if isinstance(o, holdfast.ClientError) else int(o.label.split()[0]) for o in outcomes]
    assert labels == [*range(1, 8), 900, 900, 150, 1900, holdfast.MessageTooLargeError, 3]
    assert servicer.looks == 1


@given(sizes=st.lists(st.integers(0, 400), max_size=40), most=st.integers(1, 1000), per_call=st.integers(1, 8))
def test_no_call_of_several_images_is_above_the_limits(sizes, most, per_call):
    calls = list(in_calls([bytes(size) for size in sizes], per_call, CallLimits(6, most)))
    assert [len(image.encoded) for call in calls for image in call] == sizes
    for call in calls:
        request = holdfast_pb2.ClassifyRequest(images=call, neighbours=2**31 - 1)
        assert 1 <= len(call) <= min(per_call, 6)
        assert len(call) == 1 or request.ByteSize() <= most


def test_stream_matches_answers_to_images(connect, address):
    sent = [b"x" * n for n in range(1, 101)]
    sent[50], sent[60] = BAD, FULL
    with connect(address) as c:
        outcomes = dict(c.stream(sent, in_flight=8))
    assert sorted(outcomes) == list(range(100))
    assert isinstance(outcomes.pop(50), holdfast.ImageRefusedError)
    assert outcomes.pop(60).retry_after == 0.25
    assert all(answer.label == f"{position + 1} bytes" for position, answer in outcomes.items())


def test_stream_raises_for_an_unreadable_file(connect, address, tmp_path):
    with connect(address) as c, pytest.raises(FileNotFoundError):
        list(c.stream([b"1", b"22", tmp_path / "absent.png"]))


def test_a_stream_may_be_left_early(address, servicer):
    def endless():
        while True:
            yield b"1"

    with holdfast.Client(address) as c:
        for _position, _outcome in c.stream(endless(), in_flight=4):
            break
        assert c.classify(b"1").label == "1 bytes"
    assert servicer.streamed < 20


async def test_an_async_stream_may_be_left_early(address):
    async with holdfast.AsyncClient(address) as c:
        stream = c.stream([b"1"] * 1000, in_flight=4)
        async for _ in stream:
            break
        await stream.aclose()
        assert (await c.classify(b"1")).label == "1 bytes"


def test_embeddings(connect, address):
    with connect(address) as c:
        embeddings = c.embed([b"1", b"2", PIXELS], per_call=2)
        assert embeddings.dtype == np.float32
        assert np.allclose(embeddings, [[0.6, 0.8]] * 3)
        assert c.embed([]).shape == (0, 2)
        with pytest.raises(holdfast.ImageRefusedError, match=r"images\[0\]"):
            c.embed([b"1", BAD])


def test_model_info(connect, address):
    with connect(address) as c:
        info = c.model_info()
    assert (info.name, info.class_names, info.k, info.weighting, info.norm) == ("known", ("cat", "dog"), 75, "uniform", "linf")
    assert info.accuracy == holdfast.Accuracy(0.95, 0.5, "linf", 8 / 255, "PGD", 300)


def test_errors_say_what_to_do(connect, address):
    with connect(address) as c:
        with pytest.raises(holdfast.ImageRefusedError, match=r"images\[0\].encoded"):
            c.classify(BAD)
        with pytest.raises(holdfast.OverloadedError, match=r"0\.25 s") as full:
            c.classify(FULL)
        assert full.value.retry_after == 0.25
    with connect(address, timeout=0.3) as c, pytest.raises(holdfast.TooLateError, match="timeout"):
        c.classify(SLOW)
    with connect("127.0.0.1:1") as c, pytest.raises(holdfast.UnreachableError, match="127.0.0.1:1"):
        c.model_info()


def test_what_the_server_advises_is_the_last_word():
    """Only gRPC and proxies, which send no status of their own, are in need of advice. A full disk is no matter of later."""
    full_disk = "the store takes no change, for its disk is full: make room, then try again"
    error = from_status(status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message=full_disk), "here:1")
    assert isinstance(error, holdfast.OverloadedError)
    assert error.retry_after is None
    assert str(error).endswith(full_disk)


def test_a_message_above_the_limit_is_told_from_a_full_server(connect, address):
    huge = bytes(5_000_000)  # gRPC servers take 4 MiB by default
    with connect(address) as c:
        with pytest.raises(holdfast.MessageTooLargeError, match="--max-message-bytes") as refused:
            c.classify(huge)
        assert refused.value.sent
        assert refused.value.size > len(huge) > refused.value.limit == 4 * 2**20
        assert "full" not in str(refused.value)
        small, large = c.classify_many([b"12", huge])  # it fails alone
        assert (small.label, type(large)) == ("2 bytes", holdfast.MessageTooLargeError)
        with pytest.raises(holdfast.MessageTooLargeError):
            list(c.stream([huge]))


def test_an_answer_above_the_limit_is_no_call_above_it(connect, address, monkeypatch):
    monkeypatch.setattr("holdfast.client.channel.OPTIONS", [("grpc.max_receive_message_length", 1000)])
    with connect(address) as c:
        assert c.classify(b"12", neighbours=1).label == "2 bytes"
        with pytest.raises(holdfast.MessageTooLargeError, match="neighbours") as refused:
            c.classify(b"12", neighbours=100)
    assert not refused.value.sent
    assert refused.value.size > refused.value.limit == 1000


def test_a_negative_number_of_neighbours_is_a_sentence(connect, address, servicer):
    with connect(address) as c:
        for ask in (lambda: c.classify(b"1", neighbours=-1), lambda: list(c.stream([b"1"], neighbours=-1))):
            with pytest.raises(ValueError, match="at least 0"):
                ask()
    assert servicer.calls == []


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_command_prints_a_table(address, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "cat.png"
    path.write_bytes(b"uncalibrated")
    code, out, _ = run(capsys, "classify", path, "--address", address, "--neighbours", 1)
    assert code == 0
    for cell in ("cat.png", "12 bytes", "75%", "abstain", "-1.50", "dog #0 (0.50)"):
        assert cell in out


def test_the_command_prints_json_that_is_json(address, tmp_path, capsys):
    (tmp_path / "a").write_bytes(b"uncalibrated")
    (tmp_path / "b").write_bytes(BAD)
    code, out, _ = run(capsys, "classify", tmp_path / "a", tmp_path / "b", "--address", address, "--json")
    assert code == 2
    good, bad = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert good["label"] == "12 bytes"
    assert good["credibility"] is None
    assert bad["code"] == "INVALID_ARGUMENT"


def test_the_command_shows_the_model(address, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(capsys, "info", "--address", address)
    assert code == 0
    for figure in ("linf 8/255", "50.0%", "300"):
        assert figure in out
    assert json.loads(run(capsys, "info", "--address", address, "--json")[1])["exemplars"] == 1234


def test_health_is_the_exit_code(address, healthy, capsys):
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    assert run(capsys, "health", "--address", address)[:2] == (0, "SERVING\n")
    healthy.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert run(capsys, "health", "--address", address)[:2] == (1, "NOT_SERVING\n")


@pytest.mark.parametrize(
    "flags", [("--neighbours", "-1"), ("--neighbours", "99999999999"), ("--timeout", "0"), ("--timeout", "nan")]
)
def test_a_flag_out_of_range_is_wrong_usage(flags, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"never sent")
    with pytest.raises(SystemExit) as usage:
        main(["classify", str(tmp_path / "a.png"), *flags])
    assert usage.value.code == 2
    assert f"argument {flags[0]}: must be" in capsys.readouterr().err


def test_an_image_above_the_servers_limit_is_refused_input(address, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(bytes(5_000_000))
    (tmp_path / "b.png").write_bytes(b"12")
    code, out, _ = run(capsys, "classify", tmp_path / "a.png", tmp_path / "b.png", "--address", address)
    assert code == 2
    assert "2 bytes" in out
    assert "4,194,304" in " ".join(out.split())


def test_exit_codes_of_what_goes_wrong(capsys, tmp_path):
    code, _, err = run(capsys, "classify", tmp_path / "absent.png")
    assert code == 2
    assert "absent.png" in err
    code, _, err = run(capsys, "info", "--address", "127.0.0.1:1")
    assert code == 1
    assert "127.0.0.1:1" in err


def test_the_client_needs_nothing_of_the_project_but_the_protocol():
    code = (
        "import sys, holdfast.client.__main__; print(sorted(m for m in sys.modules if m.split('.')[0] in {'holdfast', 'PIL'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    ours = {name.split(".")[1] for name in ast.literal_eval(result.stdout) if "." in name}
    assert "PIL" not in result.stdout
    assert ours >= {"client", "protos"}
    assert not ours & {"bundle", "model", "data", "attacks", "evaluation", "server", "trainer", "index_build"}


def test_raw_images_say_what_they_are():
    (call,) = in_calls([PIXELS], per_call=1)
    assert call[0] == image_pb2.Image(raw=image_pb2.RawImage(data=bytes(12), shape=[2, 2, 3], dtype=image_pb2.DATA_TYPE_UINT8))
