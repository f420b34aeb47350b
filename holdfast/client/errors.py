"""Every way a call can fail, each with a message that says what to do."""

from collections.abc import Iterable
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

DETAILS = "grpc-status-details-bin"


class ClientError(Exception):
    """A call that failed. `code` is gRPC's."""

    def __init__(self, message: str, code: grpc.StatusCode) -> None:
        super().__init__(message)
        self.code = code


class ImageRefusedError(ClientError):
    """The server cannot use this image. `violations` are pairs of the field at fault and what is wrong with it."""

    def __init__(self, message: str, code: grpc.StatusCode, violations: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message, code)
        self.violations = violations


class OverloadedError(ClientError):
    """The server's queue is full. `retry_after` is the pause that it asks for, in seconds, or None."""

    def __init__(self, message: str, code: grpc.StatusCode, retry_after: float | None) -> None:
        super().__init__(message, code)
        self.retry_after = retry_after


class TooLateError(ClientError):
    """The timeout passed before there was an answer."""


class UnreachableError(ClientError):
    """No server answers at the address, or the server is warming up or going down."""


class RefusedError(ClientError):
    """Anything else: not allowed, not known, a fault of the server."""


def from_call(error: grpc.RpcError, address: str) -> ClientError:
    """The readable form of what a gRPC call raised."""
    trailing: Any = error.trailing_metadata()
    blobs = [value for key, value in trailing or () if key == DETAILS]
    status = status_pb2.Status.FromString(blobs[0]) if blobs else status_pb2.Status()
    code: grpc.StatusCode = error.code()
    return _readable(code, error.details() or status.message, status, address)


def from_status(status: status_pb2.Status, address: str) -> ClientError:
    """The readable form of one result's google.rpc.Status."""
    code = next((c for c in grpc.StatusCode if c.value[0] == status.code), grpc.StatusCode.UNKNOWN)
    return _readable(code, status.message, status, address)


def _readable(code: grpc.StatusCode, message: str, status: status_pb2.Status, address: str) -> ClientError:
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT:
            violations = tuple(_violations(status))
            reasons = "; ".join(f"{field}: {reason}" for field, reason in violations) or message
            return ImageRefusedError(f"the server refused the image: {reasons}", code, violations)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            wait = _retry_after(status)
            advice = f"try again in {wait:.2g} s" if wait is not None else "try again later, or with fewer images at once"
            return OverloadedError(f"the server is full ({message}); {advice}", code, wait)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return TooLateError(f"no answer from {address} in time; give it more with a longer timeout", code)
        case grpc.StatusCode.UNAVAILABLE:
            return UnreachableError(
                f"no holdfast server takes calls at {address} ({message}); start one with"
                " holdfast serve --bundle DIR, or give its address",
                code,
            )
        case _:
            return RefusedError(f"{address} answered {code.name}: {message}", code)


def _violations(status: status_pb2.Status) -> Iterable[tuple[str, str]]:
    bad = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(bad):
            yield from ((v.field, v.description) for v in bad.field_violations)


def _retry_after(status: status_pb2.Status) -> float | None:
    info = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return float(info.retry_delay.ToTimedelta().total_seconds())
    return None
