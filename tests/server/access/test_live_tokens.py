"""Tokens that come and go while a server answers, and what it says of calls that it refuses."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.client.admin import AdminClient
from holdfast.client.errors import RefusedError
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.server.access.editing import remove_token
from holdfast.server.access.files import ListenerAccess
from holdfast.server.access.gate import Gate
from holdfast.server.access.scopes import Scope
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.settings import ConfigurationError, load_settings
from tests.server.access.tokens import add, bearing
from tests.server.running import Serve, Served, refusal, wait_for
from tests.server.tiny import coloured, raw

IMAGES = [raw(coloured(1, 1, seed=1)[0])]
REQUEST = pb.ClassifyRequest(images=IMAGES)


def classify(server: Served, token: str | None) -> grpc.StatusCode:
    try:
        server.stub.Classify(REQUEST, metadata=bearing(token), timeout=10)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


class Stream:
    """A ClassifyStream that its caller keeps open."""

    def __init__(self, server: Served, token: str) -> None:
        self._open = threading.Event()
        self._replies = server.stub.ClassifyStream(self._requests(), metadata=bearing(token))
        assert next(self._replies).results[0].answer.label.name == "green"

    def _requests(self) -> Iterator[pb.ClassifyStreamRequest]:
        yield pb.ClassifyStreamRequest(images=IMAGES)
        self._open.wait(20)

    def end(self) -> tuple[grpc.StatusCode, str]:
        """What the server ends it with."""
        error = refusal(lambda: next(self._replies))
        self._open.set()
        return error.code(), error.details() or ""

    @property
    def lasts(self) -> bool:
        return bool(self._replies.is_active())

    def close(self) -> None:
        self._open.set()
        assert list(self._replies) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_token_comes_and_goes_without_a_restart(serve: Serve, tmp_path: Path, workers: int) -> None:
    tokens = tmp_path / "tokens"
    camera, olga = add(tokens, "camera"), add(tokens, "olga")
    server = serve(token_file=tokens, workers=workers)
    assert classify(server, None) is grpc.StatusCode.UNAUTHENTICATED
    health = health_pb2_grpc.HealthStub(server.channel).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING  # to whom there is no token
    goes, stays = Stream(server, camera), Stream(server, olga)
    oleg = add(tokens, "oleg")
    assert classify(server, oleg) is grpc.StatusCode.OK  # at once
    remove_token(tokens, "camera")
    began = time.monotonic()
    code, details = goes.end()
    assert time.monotonic() - began < 5  # a second on a quiet machine
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert "camera" in details
    assert classify(server, camera) is grpc.StatusCode.UNAUTHENTICATED
    assert classify(server, olga) is grpc.StatusCode.OK
    assert stays.lasts
    stays.close()
    assert server.metric("holdfast_auth_failures_total", reason="removed") == 1
    assert server.metric("holdfast_auth_failures_total", reason="missing") == 1
    assert server.metric("holdfast_auth_failures_total", reason="unknown") == 1


async def test_a_token_expires_under_an_open_stream(tmp_path: Path) -> None:
    brief = add(tmp_path / "tokens", "brief", expires=datetime.now(UTC) + timedelta(seconds=0.2))
    gate = Gate("public", Metrics().access, ListenerAccess(tmp_path / "tokens"))
    record = gate.find(brief)
    assert record is not None
    gate.start()
    with gate.watching(record) as revoked:
        await asyncio.wait_for(revoked, 15)
    assert record.expired(datetime.now(UTC))
    await gate.stop()


def test_an_expired_token_is_refused(serve: Serve, tmp_path: Path) -> None:
    past = add(tmp_path / "tokens", "past", expires=datetime.now(UTC) - timedelta(seconds=1))
    server = serve(token_file=tmp_path / "tokens")
    assert classify(server, past) is grpc.StatusCode.UNAUTHENTICATED
    assert server.metric("holdfast_auth_failures_total", reason="expired") == 1


def test_a_broken_file_is_told_by_a_metric_and_changes_nothing(serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    camera = add(tokens, "camera")
    server = serve(token_file=tokens)
    whole = tokens.read_text()
    assert server.metric("holdfast_access_file_current", file="tokens") == 1
    tokens.write_text(whole[: len(whole) // 2])
    wait_for(lambda: server.metric("holdfast_access_file_current", file="tokens") == 0)
    assert server.metric("holdfast_access_file_reads_total", file="tokens", outcome="refused") >= 1
    assert classify(server, camera) is grpc.StatusCode.OK
    tokens.write_text(whole)
    wait_for(lambda: server.metric("holdfast_access_file_current", file="tokens") == 1)
    assert classify(server, camera) is grpc.StatusCode.OK


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "{token}")],
        [("authorization", "Basic {token}")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "Bearer {token} ")],
        [("authorization", "Bearer {token}")] * 2,
        [("authorization-bin", b"Bearer {token}")],
        [("token", "{token}")],
    ],
)
def test_a_token_is_sent_in_one_way(serve: Serve, tmp_path: Path, metadata: list[tuple[str, Any]]) -> None:
    token = add(tmp_path / "tokens", "camera")
    server = serve(token_file=tmp_path / "tokens")
    sent = [(key, value.replace("{token}", token) if isinstance(value, str) else value) for key, value in metadata]
    error = refusal(lambda: server.stub.Classify(REQUEST, metadata=sent))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert token not in (error.details() or "")
    lower = server.stub.Classify(REQUEST, metadata=[("authorization", f"bearer {token}")])
    assert lower.results[0].answer.label.name == "green"


def test_a_thousand_refused_calls_are_one_line_and_no_line_has_a_token(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = tmp_path / "tokens"
    known, unknown = add(tokens, "camera", Scope.EMBED), "a-strangers-token-of-no-use"
    server = serve(token_file=tokens)
    calls = [server.stub.Classify.future(REQUEST, metadata=bearing(unknown)) for _ in range(200)]
    assert {call.code() for call in calls} == {grpc.StatusCode.UNAUTHENTICATED}
    assert classify(server, known) is grpc.StatusCode.PERMISSION_DENIED
    lines = [record for record in caplog.records if record.name.endswith("refusals")]
    assert len(lines) == 1
    assert server.metric("holdfast_auth_failures_total", reason="unknown") == 200
    for token in (known, unknown):
        assert token[10:30] not in caplog.text


def test_what_a_stranger_sends_is_not_parsed(serve: Serve, tmp_path: Path) -> None:
    known = add(tmp_path / "tokens", "camera")
    server = serve(token_file=tmp_path / "tokens", reflection=True)
    unparsable = b"\xff" * 100
    for method in ("holdfast.v1.HoldfastService/Classify", "inference.GRPCInferenceService/ModelInfer"):
        call = server.channel.unary_unary(f"/{method}")
        assert refusal(lambda: call(unparsable, timeout=10)).code() is grpc.StatusCode.UNAUTHENTICATED  # noqa: B023
        known_call = refusal(lambda: call(unparsable, metadata=bearing(known), timeout=10))  # noqa: B023
        assert known_call.code() is not grpc.StatusCode.UNAUTHENTICATED
        assert server.metric("grpc_server_handled_total", grpc_method=method.split("/")[1], grpc_code="UNAUTHENTICATED") == 1


@pytest.mark.parametrize("flags", [["--admin-insecure", "--token-file", "t"], ["--admin-insecure", "--admin-token-file", "t"]])
def test_what_contradicts_itself_is_refused(flags: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="admin_insecure"):
        load_settings(["--bundle", "x", *flags])


def test_one_file_serves_both_ports(serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    camera, olga = add(tokens, "camera"), add(tokens, "olga", Scope.ADMIN)
    server = serve(token_file=tokens, store=tmp_path / "store", admin_port=0)

    with AdminClient(server.app.admin_address, olga) as admin:
        assert admin.status().name == "tiny"
    with AdminClient(server.app.admin_address, camera) as admin, pytest.raises(RefusedError, match="admin:read"):
        admin.status()
    assert classify(server, olga) is grpc.StatusCode.PERMISSION_DENIED
