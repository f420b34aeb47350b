"""A second API beside holdfast.v1: one file, and one line of the table."""

import time
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from holdfast.errors import ImageError
from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.server.api.api import Api, caller_of, deadline_of
from holdfast.server.api.table import APIS
from holdfast.server.core.facade import Core
from holdfast.server.core.request import NO_DEADLINE, Request
from tests.server.running import Serve, Served, refusal
from tests.server.tiny import coloured, png, raw

# ---- the file


def register(server: grpc.aio.Server, core: Core) -> None:
    """toy.Names/Classify: an image's bytes in, its class and its caller out, as text."""

    async def classify(image: bytes, context: Any) -> bytes:
        result = await core.answer(Request([image], deadline=deadline_of(context), caller=caller_of(context)))
        (answer,) = result.outcomes
        if isinstance(answer, ImageError):
            raise answer
        return f"{result.model.class_names[answer.label]} for {caller_of(context)}".encode()

    method = grpc.unary_unary_rpc_method_handler(classify)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("toy.Names", {"Classify": method})])


TOY = Api("toy.Names", register)

# ---- the line

WITH_TOY = (*APIS, TOY)


@pytest.fixture
def toy(serve: Serve) -> Served:
    return serve(parts={"apis": WITH_TOY}, reflection=True)


def ask(served: Served, image: bytes, **call: Any) -> str:
    reply: bytes = served.channel.unary_unary("/toy.Names/Classify")(image, **call)
    return reply.decode()


def test_both_apis_answer(toy: Served) -> None:
    for label, name in enumerate(("red", "green", "blue")):
        (image,) = coloured(label, 1, seed=5)
        assert ask(toy, png(image)) == f"{name} for 127.0.0.1"
        (result,) = toy.stub.Classify(pb.ClassifyRequest(images=[raw(image)])).results
        assert result.answer.label.name == name


def test_a_second_api_has_statuses_metrics_health_and_reflection(toy: Served) -> None:
    error = refusal(lambda: ask(toy, b"no image"))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "images[0].encoded" in (error.details() or "")
    assert toy.metric("grpc_server_handled_total", grpc_service="toy.Names", grpc_code="INVALID_ARGUMENT") == 1
    health = health_pb2_grpc.HealthStub(toy.channel)
    for api in WITH_TOY:
        assert health.Check(health_pb2.HealthCheckRequest(service=api.name)).status == health_pb2.HealthCheckResponse.SERVING
    assert {api.name for api in WITH_TOY} <= set(ProtoReflectionDescriptorDatabase(toy.channel).get_services())


def test_a_server_without_it_does_not_know_it(served: Served) -> None:
    error = refusal(lambda: ask(served, png(coloured(0, 1, seed=5)[0])))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


class Context:
    """A call, as far as it says who asks and how long it has."""

    def __init__(self, peer: str = "", left: float | None = None) -> None:
        self.peer = lambda: peer
        self.time_remaining = lambda: left


@pytest.mark.parametrize(
    ("peer", "caller"),
    [
        ("ipv4:10.0.0.7:51234", "10.0.0.7"),
        ("ipv6:%5B::1%5D:51234", "::1"),
        ("ipv6:[2001:db8::7]:51234", "2001:db8::7"),
        ("unix:", "unix"),
        ("unix:/run/holdfast.sock", "unix"),
        ("", ""),
    ],
)
def test_a_caller_is_the_address_of_its_peer(peer: str, caller: str) -> None:
    assert caller_of(Context(peer)) == caller  # type: ignore[arg-type]


def test_a_deadline_is_a_time_or_none_at_all() -> None:
    assert deadline_of(Context()) == NO_DEADLINE  # type: ignore[arg-type]
    before = time.monotonic()
    assert before + 5 <= deadline_of(Context(left=5)) <= time.monotonic() + 5  # type: ignore[arg-type]
