"""The admin client, blocking."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar
from uuid import uuid4

import grpc

from holdfast.client.admin.records import (
    AddedImage,
    AddOutcome,
    ExemplarInfo,
    LabelCount,
    LabelledImage,
    ServerStatus,
    VersionInfo,
    state_name,
    state_of,
    to_exemplar,
    to_version,
)
from holdfast.client.channel import Tls, metadata_of, open_channel
from holdfast.client.errors import ClientError, ImageRefusedError, OverloadedError, from_call, from_status
from holdfast.client.messages import to_image
from holdfast.protos.holdfast.admin.v1 import admin_pb2 as pb
from holdfast.protos.holdfast.admin.v1 import exemplar_pb2
from holdfast.protos.holdfast.admin.v1.admin_pb2_grpc import AdminServiceStub

T = TypeVar("T")

ADMIN_ADDRESS = "localhost:50052"

PAGE = 1000
LONGEST_PAUSE_S = 60.0
"""Seconds that a caller waits, at most, where the server asks it to come again later."""


class AdminClient:
    """A connection to one server's admin service; safe to share between threads. Every method raises ClientError.

    Args:
        address: host:port.
        token: goes with every call; None where the server asks for none.
        timeout: seconds that one call may take.
        tls: how the connection is encrypted; None: not at all.
        plaintext_token: whether the token may go to another machine without TLS.

    Raises:
        CredentialError: the token or a file of `tls` cannot be used, or others on the way could read the token.

    """

    def __init__(
        self,
        address: str = ADMIN_ADDRESS,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        tls: Tls | None = None,
        plaintext_token: bool = False,
    ) -> None:
        self.address, self.timeout = address, timeout
        self._metadata = metadata_of(token, address, tls, plaintext_token=plaintext_token)
        self._channel = open_channel(address, tls)
        self._stub = AdminServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def add(self, images: Sequence[LabelledImage], *, request_id: str | None = None, keep_rest: bool = False) -> AddOutcome:
        """Adds images in one call.

        Args:
            images: at least one, at most what `status` says that a call may carry.
            request_id: the same one again adds nothing; a new one by default.
            keep_rest: whether the other images are added where some cannot be used; else none is, and the error names them.

        """
        request = pb.AddExemplarsRequest(
            exemplars=[
                exemplar_pb2.NewExemplar(image=to_image(each.image), label=each.label, source=each.source) for each in images
            ],
            request_id=request_id or new_request_id(),
            on_bad_image=exemplar_pb2.ON_BAD_IMAGE_KEEP_REST if keep_rest else exemplar_pb2.ON_BAD_IMAGE_REFUSE_ALL,
        )
        reply = self._patiently(self._stub.AddExemplars, request)
        return AddOutcome(reply.sequence, tuple(map(self._added, reply.results)), reply.already_applied)

    def relabel(self, labels: Mapping[int, str], *, request_id: str | None = None) -> dict[int, str]:
        """Gives exemplars other classes, all or none; the state of each afterwards."""
        updates = [exemplar_pb2.ExemplarUpdate(id=number, label=label) for number, label in labels.items()]
        request = pb.UpdateExemplarsRequest(updates=updates, request_id=request_id or new_request_id())
        states = self._patiently(self._stub.UpdateExemplars, request).states
        return dict(zip(labels, map(state_name, states), strict=True))

    def delete(self, ids: Sequence[int], *, request_id: str | None = None) -> int:
        """Takes exemplars out of the vote, all or none. Returns the change's sequence number."""
        request = pb.DeleteExemplarsRequest(ids=ids, request_id=request_id or new_request_id())
        return self._patiently(self._stub.DeleteExemplars, request).sequence

    def approve(self, ids: Sequence[int], *, request_id: str | None = None) -> int:
        """Lets exemplars in quarantine vote, all or none. Returns the change's sequence number."""
        request = pb.ApproveExemplarsRequest(ids=ids, request_id=request_id or new_request_id())
        return self._patiently(self._stub.ApproveExemplars, request).sequence

    def drop(self, ids: Sequence[int], *, request_id: str | None = None) -> int:
        """Throws exemplars in quarantine away, all or none. Returns the change's sequence number."""
        request = pb.DropExemplarsRequest(ids=ids, request_id=request_id or new_request_id())
        return self._patiently(self._stub.DropExemplars, request).sequence

    def exemplars(self, *, label: str | None = None, state: str | None = None, page: int = PAGE) -> Iterator[ExemplarInfo]:
        """Exemplars by id, of a class and a state ("served", "quarantined", "deleted") where asked for, else not deleted."""
        request = pb.ListExemplarsRequest(label=label or "", state=state_of(state), page_size=page)
        while True:
            reply = self._call(self._stub.ListExemplars, request)
            yield from map(to_exemplar, reply.exemplars)
            if not reply.HasField("next_after_id"):
                return
            request.after_id = reply.next_after_id

    def export(self, *, label: str | None = None, state: str | None = None) -> Iterator[tuple[ExemplarInfo, bytes]]:
        """The same with the PNG of each; empty where it was not kept. As a whole it has no timeout."""
        request = pb.ExportExemplarsRequest(label=label or "", state=state_of(state))
        try:
            for reply in self._stub.ExportExemplars(request, metadata=self._metadata):
                yield to_exemplar(reply.exemplar), reply.thumbnail
        except grpc.RpcError as error:
            raise _readable(error, self.address) from None

    def labels(self) -> list[LabelCount]:
        """The classes, by index."""
        reply = self._call(self._stub.ListLabels, pb.ListLabelsRequest())
        return [LabelCount(each.index, each.name, each.exemplars) for each in reply.labels]

    def exemplar(self, number: int) -> tuple[ExemplarInfo, bytes]:
        """One exemplar, and its PNG, empty where it was not kept."""
        reply = self._call(self._stub.GetExemplar, pb.GetExemplarRequest(id=number))
        return to_exemplar(reply.exemplar), reply.thumbnail

    def status(self) -> ServerStatus:
        """How much there is of everything."""
        reply = self._call(self._stub.GetStatus, pb.GetStatusRequest())
        limits = reply.limits
        return ServerStatus(
            name=reply.name,
            model_version=reply.model_version,
            exemplars=reply.exemplars,
            quarantined=reply.quarantined,
            classes=reply.classes,
            keeps_store=reply.keeps_store,
            sequence=reply.sequence,
            images_per_call=limits.images_per_call,
            message_bytes=limits.message_bytes,
            pixels_per_image=limits.pixels_per_image,
        )

    def versions(self) -> list[VersionInfo]:
        """The versions of the bundle, by name."""
        return [to_version(each) for each in self._call(self._stub.ListVersions, pb.ListVersionsRequest()).versions]

    def reload(self, name: str | None = None) -> VersionInfo:
        """Serves another version, the newest by default. Returns the one that is served now."""
        return to_version(self._call(self._stub.Reload, pb.ReloadRequest(name=name or "")).version)

    def rollback(self) -> VersionInfo:
        """Serves the previous version again. Returns it."""
        return to_version(self._call(self._stub.Rollback, pb.RollbackRequest()).version)

    def _added(self, result: exemplar_pb2.AddResult) -> AddedImage | ClientError:
        if result.WhichOneof("outcome") == "error":
            return from_status(result.error, self.address)
        return AddedImage(result.added.id, state_name(result.added.state), result.added.reason)

    def _call(self, method: Callable[..., T], request: Any) -> T:
        try:
            return method(request, timeout=self.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _readable(error, self.address) from None

    def _patiently(self, method: Callable[..., T], request: Any) -> T:
        """A change that comes again where the server asks for a pause: its request id makes that harmless."""
        give_up = time.monotonic() + LONGEST_PAUSE_S
        while True:
            try:
                return self._call(method, request)
            except OverloadedError as error:
                if error.retry_after is None or time.monotonic() + error.retry_after > give_up:
                    raise
                time.sleep(error.retry_after)


def new_request_id() -> str:
    """One that no other change has."""
    return uuid4().hex


def _readable(error: grpc.RpcError, address: str) -> ClientError:
    """As for other calls, in the words of this service."""
    readable = from_call(error, address)
    if isinstance(readable, ImageRefusedError):
        faults = "; ".join(f"{field}: {reason}" if field else reason for field, reason in readable.violations)
        return ImageRefusedError(f"the server refused it: {faults or error.details()}", readable.code, readable.violations)
    if readable.code is grpc.StatusCode.UNAVAILABLE:
        advice = "start the server with --store DIR and --token-file FILE, or give the address of its admin service"
        return type(readable)(f"no admin service takes calls at {address} ({error.details()}): {advice}", readable.code)
    if readable.code in _PLAIN:
        more = "; give one by --token-file or HOLDFAST_TOKEN" if readable.code is grpc.StatusCode.UNAUTHENTICATED else ""
        return type(readable)(f"{error.details()}{more}", readable.code)
    return readable


_PLAIN = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}
"""Statuses whose message says all there is to say."""
