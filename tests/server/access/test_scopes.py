"""Which token may call which method: every method of every service, asked of real servers."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from holdfast.protos.inference.service_pb2_grpc import GRPCInferenceServiceStub
from holdfast.server.access.scopes import Scope
from holdfast.server.core.observers import ObservedBatch, Observer
from tests.server.access.tokens import add, bearing
from tests.server.api.open_inference.asking import pixels_request, wanting
from tests.server.api.test_apis import WITH_TOY
from tests.server.api.test_apis import ask as ask_toy
from tests.server.running import LoopThread, Serve, Served, refusal, start, wait_for
from tests.server.tiny import coloured, raw

IMAGES = [raw(coloured(1, 1, seed=1)[0])]
NONE, ANY = "nothing", "any token"

NEEDED = {
    "grpc.health.v1.Health/Check": NONE,
    "grpc.health.v1.Health/List": NONE,
    "grpc.health.v1.Health/Watch": NONE,
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ANY,
    "inference.GRPCInferenceService/ServerLive": NONE,
    "inference.GRPCInferenceService/ServerReady": NONE,
    "inference.GRPCInferenceService/ModelReady": NONE,
    "inference.GRPCInferenceService/ServerMetadata": ANY,
    "inference.GRPCInferenceService/ModelMetadata": ANY,
    "inference.GRPCInferenceService/ModelConfig": ANY,
    "inference.GRPCInferenceService/ModelStatistics": ANY,
    "inference.GRPCInferenceService/RepositoryIndex": ANY,
    "inference.GRPCInferenceService/ModelInfer": ANY,  # and what its outputs need
    "inference.GRPCInferenceService/ModelStreamInfer": ANY,
    "holdfast.v1.HoldfastService/Classify": "classify",
    "holdfast.v1.HoldfastService/ClassifyStream": "classify",
    "holdfast.v1.HoldfastService/Embed": "embed",
    "holdfast.v1.HoldfastService/GetModelInfo": ANY,
    **{
        f"holdfast.admin.v1.AdminService/{name}": "admin"
        for name in (
            *("AddExemplars", "UpdateExemplars", "DeleteExemplars", "ApproveExemplars", "DropExemplars", "Reload", "Rollback"),
        )
    },
    **{
        f"holdfast.admin.v1.AdminService/{name}": "admin:read"
        for name in ("ListExemplars", "ListLabels", "GetExemplar", "ExportExemplars", "ListVersions", "GetStatus")
    },
}
"""What each method needs, said a second time: whoever adds a method has to say it here as well."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens") / "tokens"


@pytest.fixture(scope="module")
def tokens(file: Path) -> dict[str, str]:
    return {scope: add(file, f"holder-{number}", scope) for number, scope in enumerate(Scope)}


@pytest.fixture(scope="module")
def guarded(tiny_bundle: Path, loop_thread: LoopThread, file: Path, tokens: dict[str, str]) -> Iterator[Served]:
    with ExitStack() as stack:
        yield start(stack, loop_thread, tiny_bundle, token_file=file, admin_port=0, admin_token_file=file, reflection=True)


def methods_of(channel: Any) -> Iterator[Any]:
    """The descriptors of all methods that a server offers, by its own word."""
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)
    for service in database.get_services():
        yield from pool.FindServiceByName(service).methods


class Bearing(grpc.StreamStreamClientInterceptor):  # type: ignore[misc]
    """Sends a token with every stream."""

    def __init__(self, token: str) -> None:
        self._metadata = bearing(token)

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details._replace(metadata=self._metadata), requests)


def ask(channel: grpc.Channel, method: Any, token: str | None) -> grpc.StatusCode:
    """The code that an empty message to a method ends with; OK where a stream answers."""
    name = f"/{method.containing_service.full_name}/{method.name}"
    request = GetMessageClass(method.input_type)()
    kind = "_".join("stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming))
    call = getattr(channel, kind)(
        name, request_serializer=lambda message: message.SerializeToString(), response_deserializer=bytes
    )
    sent = iter([request]) if method.client_streaming else request
    try:
        reply = call(sent, metadata=bearing(token), timeout=10)
        if method.server_streaming:
            next(reply, None)
            reply.cancel()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def test_every_method_of_every_service_needs_what_is_declared(guarded: Served, tokens: dict[str, str]) -> None:
    seen = set()
    for address in (guarded.app.address, guarded.app.admin_address):
        with grpc.insecure_channel(address) as channel:
            known = grpc.intercept_channel(channel, Bearing(tokens["classify"]))
            for method in list(methods_of(known)):
                name = f"{method.containing_service.full_name}/{method.name}"
                seen.add(name)
                _check(channel, method, NEEDED[name], tokens)
    assert seen == set(NEEDED)


def _check(channel: grpc.Channel, method: Any, needed: str, tokens: dict[str, str]) -> None:
    denied = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
    if needed == NONE:
        assert ask(channel, method, None) not in denied
        return
    assert ask(channel, method, None) is grpc.StatusCode.UNAUTHENTICATED, method.name
    for scope, token in tokens.items():
        allowed = needed in {ANY, scope} or (needed == "admin:read" and scope == "admin")
        code = ask(channel, method, token)
        assert (code not in denied) == allowed, (method.name, scope, code)
        assert allowed or code is grpc.StatusCode.PERMISSION_DENIED


def test_neighbours_need_the_scope_of_embeddings(guarded: Served, tokens: dict[str, str]) -> None:
    one = pb.ClassifyRequest(images=IMAGES, neighbours=3)
    error = refusal(lambda: guarded.stub.Classify(one, metadata=bearing(tokens["classify"])))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert '"embed"' in (error.details() or "")
    requests = [pb.ClassifyStreamRequest(sequence=n, images=IMAGES, neighbours=n) for n in range(2)]
    replies = {r.sequence: r for r in guarded.stub.ClassifyStream(iter(requests), metadata=bearing(tokens["classify"]))}
    assert replies[0].results[0].answer.label.name == "green"
    assert replies[1].error.code == grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert not replies[1].results


def test_certificates_need_the_scope_of_embeddings(guarded: Served, tokens: dict[str, str]) -> None:
    one = pb.ClassifyRequest(images=IMAGES, certificates=True)
    error = refusal(lambda: guarded.stub.Classify(one, metadata=bearing(tokens["classify"])))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    stream = iter([pb.ClassifyStreamRequest(images=IMAGES, certificates=True)])
    (reply,) = guarded.stub.ClassifyStream(stream, metadata=bearing(tokens["classify"]))
    assert reply.error.code == grpc.StatusCode.PERMISSION_DENIED.value[0]


@pytest.mark.parametrize(
    ("names", "scopes"),
    [
        ([], {Scope.CLASSIFY}),
        (["label"], {Scope.CLASSIFY}),
        (["embedding"], {Scope.EMBED}),
        (["label", "embedding"], set()),  # which takes both
        (["neighbour_ids"], set()),
        (["poison_tolerance"], set()),
        (["feature_shift"], set()),
    ],
)
def test_each_output_of_the_open_inference_protocol_needs_its_scope(
    guarded: Served, tokens: dict[str, str], names: list[str], scopes: set[Scope]
) -> None:
    stub, request = GRPCInferenceServiceStub(guarded.channel), wanting(pixels_request(coloured(1, 1, seed=1)), *names)
    for scope, token in tokens.items():
        expected = grpc.StatusCode.OK if scope in scopes else grpc.StatusCode.PERMISSION_DENIED
        assert stub.ModelInfer.future(request, metadata=bearing(token)).code() is expected, scope
        (reply,) = stub.ModelStreamInfer(iter([request]), metadata=bearing(token))
        assert bool(reply.error_message) == (scope not in scopes)


def test_who_may_both_has_both(guarded: Served, file: Path) -> None:
    token = bearing(add(file, "both", Scope.CLASSIFY, Scope.EMBED))
    reply = guarded.stub.Classify(pb.ClassifyRequest(images=IMAGES, neighbours=3, certificates=True), metadata=token)
    assert len(reply.results[0].answer.neighbours) == 3
    assert reply.results[0].answer.certificates.poison_tolerance >= 0
    assert guarded.stub.Embed(pb.EmbedRequest(images=IMAGES), metadata=token).results[0].embedding.values


def test_what_declares_no_scope_is_open_to_nobody(serve: Serve, tmp_path: Path) -> None:
    token = add(tmp_path / "tokens", "all", *Scope)
    toy = serve(parts={"apis": WITH_TOY}, token_file=tmp_path / "tokens")
    error = refusal(lambda: ask_toy(toy, b"", metadata=bearing(token)))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


class Noting(Observer):
    """Notes who has asked."""

    name = "noting"

    def __init__(self) -> None:
        self.callers: set[str] = set()

    def observe(self, batch: ObservedBatch) -> None:
        self.callers.update(batch.callers)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_caller_is_the_name_of_its_token(serve: Serve, tmp_path: Path, workers: int) -> None:
    token, noting = bearing(add(tmp_path / "tokens", "camera-7")), Noting()
    server = serve(token_file=tmp_path / "tokens", workers=workers, parts={"observers": [lambda *_: noting]})
    server.stub.Classify(pb.ClassifyRequest(images=IMAGES), metadata=token)
    list(server.stub.ClassifyStream(iter([pb.ClassifyStreamRequest(images=IMAGES)]), metadata=token))
    wait_for(lambda: noting.callers)
    assert noting.callers == {"camera-7"}
