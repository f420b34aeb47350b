"""Calls whose message never comes or comes too late, and callers who leave before their reply."""

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.server.api.holdfast_v1 import NAME
from tests.server.running import REPOSITORY, Serve, Served, refusal, wait_for
from tests.server.tiny import coloured, raw

GOOD = pb.ClassifyRequest(images=[raw(coloured(1, 1, seed=1)[0])])
INVALID = grpc.StatusCode.INVALID_ARGUMENT
HEALTH = "grpc.health.v1.Health"


def unending(served: Served, method: str = f"/{NAME}/Classify") -> Callable[..., Any]:
    """A call that the server takes for one of one message, from a client that sends as many as it likes."""
    return served.channel.stream_unary(method, request_serializer=bytes)


def test_a_call_that_ends_without_its_message_is_answered(served: Served) -> None:
    assert refusal(lambda: unending(served)(iter([]))).code() is INVALID
    check = unending(served, f"/{HEALTH}/Check")
    assert refusal(lambda: check(iter([]))).code() is INVALID
    assert health_pb2.HealthCheckResponse.FromString(check(iter([b""]))).status == health_pb2.HealthCheckResponse.SERVING


def test_a_call_that_never_sends_its_message_ends_and_takes_no_room(serve: Serve) -> None:
    served, sent = serve(message_timeout=0.2, queue_images=256), threading.Event()

    def nothing() -> Iterator[bytes]:
        sent.wait(30)
        yield from ()

    silent = [unending(served).future(nothing()) for _ in range(20)]
    assert served.stub.Classify(GOOD).results[0].answer.label.name == "green"
    wait_for(lambda: served.metric("holdfast_admitted_images") == 0)
    assert [call.exception(20).code() for call in silent] == [INVALID] * len(silent)
    assert served.metric("grpc_server_handled_total", grpc_code="INVALID_ARGUMENT", grpc_method="Classify") == len(silent)
    sent.set()


def test_a_call_that_is_given_up_before_its_message_is_no_fault(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served, sent = serve(), threading.Event()

    def nothing() -> Iterator[bytes]:
        sent.wait(30)
        yield from ()

    call = unending(served).future(nothing())
    wait_for(lambda: served.metric("grpc_server_handled_total", grpc_code="OK") == 0)
    call.cancel()
    assert served.stub.Classify(GOOD).results[0].answer.label.name == "green"
    assert served.metric("grpc_server_handled_total", grpc_code="INVALID_ARGUMENT") == 0
    assert not caplog.records
    sent.set()


LEAVING = """
import os, sys, time, grpc
from contextlib import suppress
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.holdfast.v1.holdfast_pb2_grpc import HoldfastServiceStub
stub, end = HoldfastServiceStub(grpc.insecure_channel(sys.argv[1])), sys.argv[2]
request = pb.ClassifyStreamRequest.FromString(bytes.fromhex(sys.stdin.read()))
patience = 0.5 if end == "deadline" else None
streams = [stub.ClassifyStream((request for _ in range(10_000)), timeout=patience) for _ in range(int(sys.argv[3]))]
for replies in streams:
    with suppress(grpc.RpcError):  # on a slow machine the deadline passes before
        next(replies)
time.sleep(0.7)  # and reads nothing meanwhile: replies pile up
if end == "cancel":
    [replies.cancel() for replies in streams]
    time.sleep(0.1)
os._exit(0)
"""
"""Takes the first of many large replies on each of some streams, and leaves in one of several ways."""


@pytest.mark.parametrize("end", ["deadline", "cancel", "exit"])
def test_a_caller_who_leaves_is_nothing_unforeseen(serve: Serve, caplog: pytest.LogCaptureFixture, end: str) -> None:
    served = serve()
    images = [raw(image) for image in coloured(1, 50, seed=1)]
    request = pb.ClassifyStreamRequest(images=images, neighbours=5).SerializeToString().hex()
    streams = 12
    command = [sys.executable, "-c", LEAVING, served.app.address, end, str(streams)]
    subprocess.run(command, input=request, text=True, cwd=REPOSITORY, check=True, timeout=60)
    ended = {"grpc_method": "ClassifyStream"}
    wait_for(lambda: served.metric("grpc_server_handled_total", **ended) == streams)
    assert served.metric("grpc_server_handled_total", grpc_code="INTERNAL", **ended) == 0
    wait_for(lambda: served.metric("holdfast_admitted_images") == 0)
    gc.collect()  # asyncio tells of what nobody has waited for when it is thrown away
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
