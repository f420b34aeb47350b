"""An operator's side of the admin service, for tests."""

from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import AdminServiceStub
from holdfast.server.access.editing import add_token
from holdfast.server.access.scopes import Scope
from holdfast.server.access.tokens import record_of

OPERATOR, READER = "an-operators-token-1", "a-readers-token-0001"


def token_file(path: Path) -> Path:
    """Two tokens: olga's, who may change exemplars, and rita's, who may look at them."""
    path.unlink(missing_ok=True)
    add_token(path, record_of(OPERATOR, "olga", frozenset({Scope.ADMIN}), None))
    add_token(path, record_of(READER, "rita", frozenset({Scope.ADMIN_READ}), None))
    return path


def bearing(token: str | None) -> list[tuple[str, str]]:
    return [] if token is None else [("authorization", f"Bearer {token}")]


class Operator:
    """Calls with a token, by the methods' names."""

    def __init__(self, address: str, token: str | None = OPERATOR) -> None:
        self.channel = grpc.insecure_channel(address)
        self._stub, self._metadata = AdminServiceStub(self.channel), bearing(token)

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._stub, method)
        return lambda request: call(request, metadata=self._metadata, timeout=30)


def violations(error: grpc.RpcError) -> dict[str, str]:
    """What a refusal says about which field."""
    bad = error_details_pb2.BadRequest()
    for detail in _details(error):
        if detail.Unpack(bad):
            return {v.field: v.description for v in bad.field_violations}
    return {}


def retry_after(error: grpc.RpcError) -> float | None:
    info = error_details_pb2.RetryInfo()
    for detail in _details(error):
        if detail.Unpack(info):
            return float(info.retry_delay.ToTimedelta().total_seconds())
    return None


def _details(error: grpc.RpcError) -> Any:
    trailing = dict(error.trailing_metadata() or ())
    return status_pb2.Status.FromString(trailing["grpc-status-details-bin"]).details
