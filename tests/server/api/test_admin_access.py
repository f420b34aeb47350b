"""Who reaches the admin service, and who does not."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from holdfast.errors import HoldfastError
from holdfast.protos.holdfast.admin.v1 import admin_pb2 as pb
from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import AdminServiceStub
from holdfast.protos.holdfast.v1 import holdfast_pb2
from holdfast.protos.holdfast.v1.holdfast_pb2_grpc import HoldfastServiceStub
from tests.server.api.admin import OPERATOR, READER, Operator, bearing, token_file
from tests.server.running import LoopThread, Serve, Served, refusal, start

STATUS = pb.GetStatusRequest()


@pytest.fixture(scope="module")
def guarded(tiny_bundle: Path, loop_thread: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Any:
    tokens = token_file(tmp_path_factory.mktemp("tokens") / "tokens")
    with ExitStack() as stack:
        yield start(stack, loop_thread, tiny_bundle, admin_port=0, admin_token_file=tokens)


@pytest.mark.parametrize("workers", [0, 1])
def test_who_holds_a_token_learns_what_is_served(serve: Serve, tmp_path: Path, workers: int) -> None:
    server = serve(admin_port=0, admin_token_file=token_file(tmp_path / "tokens"), workers=workers)
    status = Operator(server.app.admin_address).GetStatus(STATUS)
    assert (status.name, status.classes, status.exemplars) == ("tiny", 3, 60)
    assert status.limits.images_per_call == server.app.settings.max_images
    assert server.metric("grpc_server_handled_total", grpc_method="GetStatus", grpc_code="OK") == 1


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        bearing("another-token-of-no-one"),
        bearing(""),
        bearing(OPERATOR + " "),
        [("authorization", OPERATOR)],
        [("authorization", f"Basic {OPERATOR}")],
        bearing(OPERATOR) * 2,
        [("authorization-bin", OPERATOR.encode())],
    ],
)
def test_who_holds_none_is_told_so_and_no_more(guarded: Served, metadata: Any) -> None:
    stub = AdminServiceStub(grpc.insecure_channel(guarded.app.admin_address))
    error = refusal(lambda: stub.GetStatus(STATUS, metadata=metadata))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert OPERATOR not in (error.details() or "")


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("AddExemplars", pb.AddExemplarsRequest()),
        ("UpdateExemplars", pb.UpdateExemplarsRequest()),
        ("DeleteExemplars", pb.DeleteExemplarsRequest()),
        ("ApproveExemplars", pb.ApproveExemplarsRequest()),
        ("DropExemplars", pb.DropExemplarsRequest()),
        ("Reload", pb.ReloadRequest()),
        ("Rollback", pb.RollbackRequest()),
    ],
)
def test_a_token_that_may_only_read_changes_nothing(guarded: Served, method: str, request_: Any) -> None:
    reader = Operator(guarded.app.admin_address, READER)
    assert refusal(lambda: getattr(reader, method)(request_)).code() is grpc.StatusCode.PERMISSION_DENIED
    assert reader.GetStatus(STATUS).name == "tiny"


@pytest.mark.parametrize("workers", [0, 1])
def test_neither_port_offers_what_the_other_does(serve: Serve, tmp_path: Path, workers: int) -> None:
    server = serve(admin_port=0, admin_token_file=token_file(tmp_path / "tokens"), workers=workers, reflection=True)
    unknown = refusal(lambda: AdminServiceStub(server.channel).GetStatus(STATUS, metadata=bearing(OPERATOR)))
    assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED
    public = HoldfastServiceStub(grpc.insecure_channel(server.app.admin_address))
    info = holdfast_pb2.GetModelInfoRequest()
    unknown = refusal(lambda: public.GetModelInfo(info, metadata=bearing(OPERATOR)))
    assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED


def test_without_a_store_nothing_can_be_changed_and_the_remedy_is_told(guarded: Served) -> None:
    error = refusal(lambda: Operator(guarded.app.admin_address).ListLabels(pb.ListLabelsRequest()))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "--store" in error.details()


def test_without_tokens_it_is_for_this_machine_alone(serve: Serve) -> None:
    server = serve(admin_port=0, admin_insecure=True)
    assert Operator(server.app.admin_address, None).GetStatus(STATUS).name == "tiny"
    with pytest.raises(HoldfastError, match="file of tokens"):
        serve(admin_port=0, admin_insecure=True, admin_host="0.0.0.0")  # noqa: S104


def test_a_port_that_is_taken_is_said(serve: Serve) -> None:
    first = serve(admin_port=0, admin_insecure=True)
    taken = int(first.app.admin_address.rpartition(":")[2])
    with pytest.raises(HoldfastError, match="admin"):
        serve(admin_port=taken, admin_insecure=True)
