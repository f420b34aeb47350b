"""The Open Inference Protocol over HTTP: what it says, that it says what holdfast.v1 does, and what it refuses."""

import json
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.errors import HoldfastError
from holdfast.protos.holdfast.v1 import holdfast_pb2, image_pb2
from holdfast.server.access.scopes import Scope
from holdfast.server.api.http.errors import HttpError
from holdfast.server.api.http.inference_bodies import json_length, read_request
from holdfast.server.core.errors import RequestError
from holdfast.server.core.snapshot import ModelSnapshot
from tests.server.access.certificates import Authority
from tests.server.access.tokens import add
from tests.server.api.http.asking import INFER, Reply, ask, behind, binary_files, files, infer, listed, tensor
from tests.server.api.open_inference.test_open_inference import (
    BLUE,
    DEFAULT,
    GREEN,
    RED,
    assert_says_what_holdfast_v1_does,
    classify,
    pixels,
)
from tests.server.running import LoopThread, Serve, Served, free_port, start, wait_for
from tests.server.tiny import Pixels, coloured, png

BINARY = {"parameters": {"binary_data_output": True}}

# ---- answers


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images=pixels(), form=st.sampled_from(("nested", "flat", "binary")), binary=st.booleans())
def test_pixels_get_the_answers_of_holdfast_v1(http: Served, images: Pixels, form: str, binary: bool) -> None:
    fields = BINARY if binary else {}
    if form == "binary":
        reply = infer(http, behind("UINT8", images.shape, images.size, **fields), images.tobytes())
    else:
        reply = infer(http, listed(images if form == "nested" else images.ravel(), shape=images.shape, **fields))
    sent = [
        image_pb2.Image(raw=image_pb2.RawImage(data=i.tobytes(), shape=i.shape, dtype=image_pb2.DATA_TYPE_UINT8))
        for i in images
    ]
    assert ("Inference-Header-Content-Length" in reply.headers) == binary
    assert_says_what_holdfast_v1_does(reply.outputs, classify(http, sent))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images=pixels(), binary=st.booleans(), kind=st.sampled_from(("PNG", "JPEG", "WEBP")))
def test_files_get_the_answers_of_holdfast_v1(http: Served, images: Pixels, binary: bool, kind: str) -> None:
    sent = [png(image.repeat(3 // image.shape[-1], axis=-1), kind) for image in images]
    reply = binary_files(http, sent) if binary else infer(http, files(sent))
    assert_says_what_holdfast_v1_does(reply.outputs, classify(http, [image_pb2.Image(encoded=file) for file in sent]))


def test_each_output_comes_in_the_form_it_was_asked_for(http: Served) -> None:
    wanted = [
        {"name": "probabilities", "parameters": {"binary_data": True}},
        {"name": "label_name"},
        {"name": "embedding", "parameters": {"binary_data": False}},
    ]
    reply = infer(http, files([GREEN, RED], outputs=wanted, id="7", **BINARY))
    by_name = {output["name"]: output for output in reply.json["outputs"]}
    assert list(by_name) == ["probabilities", "label_name", "embedding"]
    assert {name: "data" in output for name, output in by_name.items()} == {
        "probabilities": False,
        "label_name": False,
        "embedding": True,
    }
    assert reply.json["id"] == "7"
    assert reply.headers["Content-Type"] == "application/octet-stream"
    assert reply.outputs["label_name"].tolist() == [b"green", b"red"]


def test_what_is_no_number_is_null(http: Served) -> None:
    reply = infer(http, files([RED, b"no image"], parameters={"partial": True}))
    by_name = {output["name"]: output["data"] for output in reply.json["outputs"]}
    assert list(by_name) == [*DEFAULT, "error"]
    assert by_name["label"] == [0, -1]
    assert by_name["credibility"][1] is None
    assert by_name["error"][0] == ""


# ---- what it says of itself


def test_what_the_server_says_of_itself(http: Served) -> None:
    version = http.app.holder.current.description.bundle_version
    assert ask(http, "/v2/health/live").json == {"live": True}
    assert ask(http, "/v2/health/ready").json == {"ready": True}
    assert ask(http, "/v2").json["name"] == "holdfast"
    for path in ("/v2/models/tiny", f"/v2/models/tiny/versions/{version}"):
        assert ask(http, path).json["versions"] == [version]
        assert ask(http, f"{path}/ready").json == {"name": "tiny", "ready": True}
        assert ask(http, f"{path}/config").json["max_batch_size"] == http.app.settings.max_images
        assert ask(http, f"{path}/stats").json["model_stats"][0]["version"] == version
    assert ask(http, "/v2/models/stats").json["model_stats"]
    (model,) = ask(http, "/v2/repository/index", b"").json
    assert (model["name"], model["state"]) == ("tiny", "READY")
    assert ask(http, "/v2/repository/index", b'{"ready": true}').json == [model]
    assert "aiohttp" not in str(ask(http, "/v2").headers)


def test_what_there_is_not_is_said_in_json(http: Served) -> None:
    for path, body, status in (
        ("/", None, 404),
        ("/v2/models/other", None, 404),
        ("/v2/models/other/ready", None, 404),
        ("/v2/models/tiny/versions/1/infer", b"{}", 404),
        ("/v2/models/tiny/versions/1/ready", None, 404),
        ("/v2/models/tiny/infer", None, 405),
        ("/v2", b"{}", 405),
    ):
        reply = ask(http, path, body)
        if path.endswith("/infer") and body:
            reply = ask(http, path, json.dumps(files([RED])).encode())
        assert reply.status == status, path
        assert reply.json["error"]
        assert reply.headers["Content-Type"] == "application/json"


# ---- what is refused

PNG_64 = files([RED])["inputs"][0]["data"][0]
BAD: dict[str, tuple[Any, str]] = {
    "nothing": (b"", "body"),
    "no JSON": (b"{nonsense", "body"),
    "a list": (b"[]", "body"),
    "no UTF-8": (b'{"id": "\xff"}', "body"),
    "deep": (b'{"inputs": ' + b"[" * 20_000, "body"),
    "deep and whole": (b'{"inputs": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", "body"),
    "NaN": (b'{"parameters": {"x": NaN}, "inputs": []}', "body"),
    "Infinity": (b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1,1,1,1], "data": [Infinity]}]}', "body"),
    "a number of a million digits": (b'{"inputs": [{"shape": [' + b"9" * 10**6 + b"]}]}", "body"),
    "no inputs": ({}, "inputs"),
    "inputs of another kind": ({"inputs": {"name": "image"}}, "inputs"),
    "an input of another kind": ({"inputs": ["image"]}, "inputs"),
    "many inputs": ({"inputs": [tensor("BYTES", [1], data=[PNG_64])] * 100}, "inputs"),
    "an id of another kind": (files([RED], id=7), "id"),
    "no shape": ({"inputs": [{"name": "image", "datatype": "UINT8", "data": []}]}, "inputs[0].shape"),
    "half a side": (listed([1], shape=[1, 1, 1, 0.5]), "inputs[0].shape"),
    "a side that is true": (listed([1], shape=[1, 1, 1, True]), "inputs[0].shape"),
    "a negative side": (listed([1], shape=[-1, -1, 1, 1]), "inputs[0].shape"),
    "a billion a side": (listed([1], shape=[1, 10**9, 10**9, 1]), "inputs[0]"),
    "too many images": (listed([1], shape=[10**9, 1, 1, 1]), "inputs[0].shape"),
    "another datatype": (listed([1.5], "FP32", shape=[1]), "inputs[0].data"),
    "no data": ({"inputs": [tensor("UINT8", [1, 1, 1, 1])]}, "inputs[0].data"),
    "data of another kind": ({"inputs": [tensor("UINT8", [1, 1, 1, 1], data="1")]}, "inputs[0].data"),
    "too few values": (listed([1, 2], shape=[1, 1, 1, 3]), "inputs[0]"),
    "nested otherwise": (listed([[[[1]], [[2]]]], shape=[1, 1, 2, 1]), "inputs[0].data"),
    "nested raggedly": (listed([[[[1, 2, 3]], [[1, 2]]]], shape=[1, 2, 1, 3]), "inputs[0].data"),
    "values that are true": (listed([True], shape=[1, 1, 1, 1]), "inputs[0].data"),
    "half a value": (listed([0.5], shape=[1, 1, 1, 1]), "inputs[0].data"),
    "a value above 255": (listed([256], shape=[1, 1, 1, 1]), "inputs[0].data"),
    "a value below 0": (listed([-1], shape=[1, 1, 1, 1]), "inputs[0].data"),
    "no base64": (listed(["no base64!"], "BYTES"), "inputs[0].data[0]"),
    "letters of no base64": (listed(["Ä"], "BYTES"), "inputs[0].data[0]"),
    "numbers as files": (listed([7], "BYTES"), "inputs[0].data[0]"),
    "a bad image": (files([RED, b"no image"]), "image[1]"),
    "another output": (files([RED], outputs=[{"name": "logits"}]), "outputs[0].name"),
    "an output of another kind": (files([RED], outputs=["label"]), "outputs"),
    "a parameter of another kind": (files([RED], parameters={"x": [1]}), "parameters.x"),
    "parameters of another kind": (files([RED], parameters=[1]), "parameters"),
    "a large number": (files([RED], parameters={"timeout": 10**30}), "parameters.timeout"),
    "binary data in words": (
        files([RED], outputs=[{"name": "label", "parameters": {"binary_data": "yes"}}]),
        "outputs[0].parameters.binary_data",
    ),
    "bytes that are not there": (behind("BYTES", [1], 10), "Inference-Header-Content-Length"),
    "negative bytes": (behind("BYTES", [1], -1), "inputs[0].parameters.binary_data_size"),
    "half a byte": (behind("BYTES", [1], 0.5), "inputs[0].parameters.binary_data_size"),
    "a great many bytes": (behind("BYTES", [1], 10**18), "Inference-Header-Content-Length"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(http: Served, name: str) -> None:
    said, field = BAD[name]
    began = time.monotonic()
    reply = infer(http, said)
    assert reply.status == 400, reply.body[:300]
    assert reply.json["error"].startswith(f"{field}: "), reply.json
    assert len(reply.body) < 1000
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("container", [b"[]", b"{}", b'{"a":0}'])
def test_json_of_very_many_lists_is_not_read(http: Served, container: bytes) -> None:
    before = http.metric("holdfast_http_refused_total", limit="json")
    reply = infer(http, b'{"inputs":[' + b",".join([container] * 100_000) + b"]}")
    assert (reply.status, http.metric("holdfast_http_refused_total", limit="json")) == (413, before + 1)


def test_the_length_of_the_json_cannot_lie(http: Served) -> None:
    raw = png(coloured(0, 1, seed=0)[0])
    sized = struct.pack("<I", len(raw)) + raw
    said = json.dumps(behind("BYTES", [1], len(sized))).encode()
    right = len(said)
    assert infer(http, said, sized).outputs["label"].tolist() == [0]
    for length in ("-1", "1e3", "0x10", "", " ", str(right - 1), str(right + 1), "0", str(10**9), "9" * 100, "٣"):
        reply = ask(http, INFER, said + sized, **{"Inference-Header-Content-Length": length.encode().decode("latin-1")})
        assert reply.status == 400, length
        assert reply.json["error"]
    for wrong in (sized[:-1], sized + b"\0", b""):
        reply = infer(http, said, wrong, **{"Inference-Header-Content-Length": str(right)})
        assert "Inference-Header-Content-Length" in reply.json["error"]
    both = behind("BYTES", [1], len(sized))
    both["inputs"][0]["data"] = [PNG_64]
    assert infer(http, both, sized).json["error"].startswith("inputs[0].data: ")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80), st.one_of(st.none(), st.text(max_size=8), st.integers(0, 90).map(str)))
def test_no_body_is_read_but_as_a_request_or_refused(body: bytes, header: str | None) -> None:
    try:
        read_request(body, json_length(header, body, 10_000), "tiny", "")
    except (RequestError, HttpError):
        return
    assert body.lstrip()[:1] == b"{"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("name", "shape", "datatype", "data", "parameters", "binary_data_size", "x")), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(inputs=st.lists(JSON, max_size=2) | JSON, outputs=JSON, parameters=JSON, behind_it=st.binary(max_size=8))
def test_no_json_is_read_but_as_a_request_or_refused(inputs: Any, outputs: Any, parameters: Any, behind_it: bytes) -> None:
    text = json.dumps({"inputs": inputs, "outputs": outputs, "parameters": parameters}).encode()
    try:
        request = read_request(text + behind_it, len(text), "tiny", "")
    except (RequestError, HttpError):
        return
    assert all(isinstance(each.values, bytes | list) for each in request.inputs)


# ---- limits


def test_limits_of_bodies_are_kept(serve: Serve) -> None:
    served = serve(http_port=0, max_message_bytes=70_000, http_body_bytes=2**17, http_json_bytes=2_000)

    def refused(limit: str) -> float:
        return served.metric("holdfast_http_refused_total", limit=limit)

    assert infer(served, listed(np.zeros((1, 30, 30, 3), np.uint8))).status == 413
    assert refused("json") == 1
    assert ask(served, INFER, bytes(70_001)).status == 413
    with closing(connected(served)) as connection:  # of a length that nobody says beforehand
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % INFER.encode())
        connection.sendall(b"%x\r\n" % 70_001 + bytes(70_001) + b"\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert refused("body") == 2
    images = np.zeros((1, 100, 200, 3), np.uint8)
    assert infer(served, behind("UINT8", images.shape, images.size), images.tobytes()).outputs["label"].shape == (1,)
    packed = ask(served, INFER, b"\x1f\x8b", Content_Encoding="gzip")
    assert (packed.status, "Content-Encoding" in packed.json["error"]) == (415, True)
    with ExitStack() as stack:
        for _ in range(3):  # bodies that do not come to their end hold what has come of them
            connection = stack.enter_context(closing(connected(served)))
            connection.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 60001\r\n\r\n" % INFER.encode() + bytes(60_000))
        wait_for(lambda: refused("bodies") == 1)
    wait_for(lambda: infer(served, files([RED])).status == 200)


def connected(served: Served) -> socket.socket:
    host, _, port = served.app.http_url.partition("//")[2].rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /v2 HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{" % INFER.encode(),
        b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{" % INFER.encode(),
    ],
)
def test_who_is_slow_is_cut_off(serve: Serve, sent: bytes) -> None:
    served = serve(http_port=0, http_timeout=0.3)
    with closing(connected(served)) as connection:
        connection.sendall(sent)
        received = b"".join(iter(lambda: connection.recv(4096), b""))  # to its end
    assert received == b"" or received.startswith(b"HTTP/1.1 408 ")
    wait_for(lambda: served.metric("holdfast_http_connections") == 0)


def test_connections_are_bounded(serve: Serve) -> None:
    served = serve(http_port=0, http_connections=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(closing(connected(served)))
        wait_for(lambda: served.metric("holdfast_http_connections") == 2)
        assert ask(served, "/v2/health/live").status == 503
        assert served.metric("holdfast_http_refused_total", limit="connections") == 1
    wait_for(lambda: ask(served, "/v2/health/live").status == 200)


@pytest.fixture
def hold_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], threading.Event]]:
    """Keeps every model of this process from answering, from when it is called until what it gives is set."""
    go, retrieve = threading.Event(), ModelSnapshot.retrieve

    def held(snapshot: ModelSnapshot, images: Any) -> Any:
        go.wait(60)
        return retrieve(snapshot, images)

    def hold() -> threading.Event:
        monkeypatch.setattr(ModelSnapshot, "retrieve", held)
        return go

    yield hold
    go.set()


def test_a_client_that_leaves_is_not_waited_for(serve: Serve, hold_model: Callable[[], threading.Event]) -> None:
    served = serve(http_port=0)
    hold_model()
    body = json.dumps(files([RED])).encode()
    with closing(connected(served)) as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (INFER.encode(), len(body)) + body)
        wait_for(lambda: served.metric("holdfast_admitted_images") == 1)
    wait_for(lambda: served.metric("holdfast_http_requests_total", route="infer", status="499") == 1)
    wait_for(lambda: served.metric("holdfast_admitted_images") == 0)


def test_a_full_queue_says_when_to_try_again(serve: Serve, hold_model: Callable[[], threading.Event]) -> None:
    served = serve(http_port=0, max_images=2, queue_images=2)
    hold_model()
    waiting = served.stub.Classify.future(holdfast_request(2))
    wait_for(lambda: served.metric("holdfast_admitted_images") == 2)
    reply = infer(served, files([RED]))
    assert reply.status == 429
    assert int(reply.headers["Retry-After"]) >= 1
    waiting.cancel()


def holdfast_request(images: int) -> Any:
    return holdfast_pb2.ClassifyRequest(images=[image_pb2.Image(encoded=RED)] * images)


def test_the_parameter_timeout_is_a_deadline(serve: Serve) -> None:
    served = serve(http_port=0)
    assert infer(served, files([RED], parameters={"timeout": 1})).status == 504


def test_requests_are_counted_by_route_and_status(serve: Serve) -> None:
    served = serve(http_port=0)
    infer(served, files([RED]))
    infer(served, {})
    ask(served, "/nowhere")
    assert served.metric("holdfast_http_requests_total", route="infer", status="200") == 1
    assert served.metric("holdfast_http_requests_total", route="infer", status="400") == 1
    assert served.metric("holdfast_http_request_seconds_count", route="infer") == 2


def test_requests_have_ids_in_and_out(http: Served) -> None:
    made = {infer(http, files([RED])).headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    assert ask(http, INFER, b"", X_Request_Id="mine-7").headers["x-request-id"] == "mine-7"
    before = http.metric("holdfast_request_ids_replaced_total")
    assert ask(http, "/v2", X_Request_Id="no id\t").headers["x-request-id"] != "no id"
    assert http.metric("holdfast_request_ids_replaced_total") == before + 1


# ---- the port


def test_no_port_is_opened_unless_it_is_asked_for(served: Served) -> None:
    assert served.app.http_url == ""


def test_a_port_that_is_taken_is_refused(serve: Serve) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with closing(taken), pytest.raises(HoldfastError, match="--http-port"):
        serve(http_port=taken.getsockname()[1])


def test_a_drain_finishes_what_is_in_flight_and_takes_no_more(
    tiny_bundle: Path, loop_thread: LoopThread, hold_model: Callable[[], threading.Event]
) -> None:
    with ExitStack() as connections:
        with ExitStack() as stack:
            served = start(stack, loop_thread, tiny_bundle, http_port=0)
            go = hold_model()
            body = json.dumps(files([GREEN])).encode()
            asking, idle = (connections.enter_context(closing(connected(served))) for _ in range(2))
            asking.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (INFER.encode(), len(body)) + body)
            wait_for(lambda: served.metric("holdfast_admitted_images") == 1)
            threading.Timer(0.2, go.set).start()
        received = b"".join(iter(lambda: asking.recv(4096), b""))
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"green" in received
        assert idle.recv(10) == b""
    with pytest.raises(ConnectionRefusedError):
        connected(served)


def test_while_it_drains_probes_are_answered_and_calls_refused(
    tiny_bundle: Path, loop_thread: LoopThread, hold_model: Callable[[], threading.Event]
) -> None:
    with ThreadPoolExecutor(1) as draining, ExitStack() as stack:
        served = start(stack, loop_thread, tiny_bundle, http_port=0, drain_grace=30.0)
        go = hold_model()
        body = json.dumps(files([GREEN])).encode()
        with closing(connected(served)) as asking:
            asking.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (INFER.encode(), len(body)) + body)
            wait_for(lambda: served.metric("holdfast_admitted_images") == 1)
            drained = draining.submit(stack.pop_all().close)
            wait_for(lambda: ask(served, "/v2/health/ready").status == 503)
            assert ask(served, INFER, body).status == 503
            assert ask(served, "/v2/health/live").status == 200
            go.set()
            assert asking.recv(20).startswith(b"HTTP/1.1 200 ")
        drained.result(20)


@pytest.mark.slow
def test_workers_share_the_port(serve: Serve) -> None:
    port = free_port()
    served = serve(http_port=port, workers=2)
    assert served.app.http_url == f"http://127.0.0.1:{port}"
    for label, file in enumerate((RED, GREEN, BLUE)):
        assert infer(served, files([file])).outputs["label"].tolist() == [label]
    assert served.metric("holdfast_http_requests_total", route="infer", status="200") == 3


# ---- who may


@pytest.fixture
def tokens(tmp_path: Path) -> tuple[Path, Callable[..., str]]:
    path = tmp_path / "tokens"
    return path, lambda name, *scopes: add(path, name, *scopes)


def test_tokens_are_asked_for_and_scopes_are_kept(serve: Serve, tokens: tuple[Path, Callable[..., str]]) -> None:
    path, make = tokens
    classifies, embeds, operates = make("a", Scope.CLASSIFY), make("b", Scope.EMBED), make("c", Scope.ADMIN)
    served = serve(http_port=0, token_file=path)
    labels, embedding = files([RED]), files([RED], outputs=[{"name": "embedding"}])

    def status(said: Any, token: str | None, scheme: str = "Bearer") -> int:
        return infer(served, said, **({} if token is None else {"Authorization": f"{scheme} {token}"})).status

    for said in (labels, embedding):
        assert status(said, None) == status(said, "nobody's") == status(said, classifies, "Basic") == 401
        assert status(said, operates) == 403
    assert (status(labels, classifies), status(labels, embeds)) == (200, 403)
    assert (status(embedding, classifies), status(embedding, embeds)) == (403, 200)
    for open_path in ("/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready"):
        assert ask(served, open_path).status == 200
    for closed in ("/v2", "/v2/models/tiny", "/v2/models/tiny/config", "/v2/models/tiny/stats", "/v2/models/stats"):
        assert ask(served, closed).status == 401
        assert ask(served, closed, Authorization=f"Bearer {operates}").status == 200
    assert ask(served, "/v2/repository/index", b"").status == 401
    refused: Reply = ask(served, "/v2")
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert served.metric("holdfast_auth_failures_total", reason="missing") > 0


def test_what_grpc_encrypts_is_encrypted_here(serve: Serve, tmp_path: Path) -> None:
    authority, strangers = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs", "strangers")
    chain, key = authority.issue("server")
    served = serve(http_port=0, tls_cert=chain, tls_key=key, tls_client_ca=authority.file)
    assert served.app.http_url.startswith("https://")

    def context(shown: tuple[Path, Path] | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=authority.file)
        if shown is not None:
            made.load_cert_chain(*shown)
        return made

    assert infer_over(served, context(authority.issue("olga", name="olga"))).outputs["label"].tolist() == [0]
    for shown in (None, strangers.issue("eve")):
        with pytest.raises(OSError):
            infer_over(served, context(shown))
    with closing(connected(served)) as plain:
        plain.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")


def test_a_new_certificate_is_shown_without_a_restart(serve: Serve, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    chain, key = authority.issue("server")
    served = serve(http_port=0, tls_cert=chain, tls_key=key)
    context = ssl.create_default_context(cafile=authority.file)

    def shown() -> bytes | None:
        with context.wrap_socket(connected(served), server_hostname="localhost") as connection:
            return connection.getpeercert(binary_form=True)

    before = shown()
    authority.issue("server")
    wait_for(lambda: shown() != before, 30)
    assert infer_over(served, context).outputs["label"].tolist() == [0]


def infer_over(served: Served, context: ssl.SSLContext) -> Reply:
    return ask(served, INFER, json.dumps(files([RED])).encode(), context=context)


# ---- the page


def test_the_commands_of_the_page_work(http: Served, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    page = (Path(__file__).parents[4] / "docs" / "open_inference.md").read_text(encoding="utf-8")
    commands = [line.strip() for line in page.replace("\\\n", "").splitlines() if line.startswith("    ") and "curl" in line]
    assert len(commands) == 2
    (tmp_path / "cat.png").write_bytes(GREEN)
    for command in commands:
        here = command.replace("http://localhost:8080", http.app.http_url).replace("cifar10-small", "tiny")
        done = subprocess.run(["bash", "-c", here], cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S607
        assert done.returncode == 0, done.stderr
        names = {output["name"]: output.get("data") for output in json.loads(done.stdout)["outputs"]}
        assert names["label_name"] == ["green"]
