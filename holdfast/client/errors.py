"""Every way a call can fail, each with a message that says what to do."""

import re
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
    """The server has no room at the moment, as where its queue is full.

    `retry_after` is the pause that it asks for, in seconds, or None.
    """

    def __init__(self, message: str, code: grpc.StatusCode, retry_after: float | None) -> None:
        super().__init__(message, code)
        self.retry_after = retry_after


class MessageTooLargeError(ClientError):
    """A message is longer than the server or this client takes: the call's images, or the answer to them.

    `size` and `limit` are in bytes; `sent` says whether it is the call that is too long, and not the answer.
    """

    def __init__(self, message: str, code: grpc.StatusCode, *, size: int, limit: int, sent: bool) -> None:
        super().__init__(message, code)
        self.size, self.limit, self.sent = size, limit, sent


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
            return _too_large(code, message, address) or _overloaded(code, message, status, address)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return TooLateError(f"no answer from {address} in time; give it more with a longer timeout", code)
        case grpc.StatusCode.UNAVAILABLE:
            return UnreachableError(_unreachable(message, address), code)
        case _:
            more = "; give a token by --token-file or HOLDFAST_TOKEN" if code is grpc.StatusCode.UNAUTHENTICATED else ""
            return RefusedError(f"{address} answered {code.name}: {message}{more}", code)


_HANDSHAKES = {
    "certificate has expired": "its certificate has expired",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not signed by one that this client trusts: --ca FILE names another",
    "BAD_SIGNATURE": "its certificate is signed by a namesake of one that this client trusts: --ca FILE names another",
    "Hostname Verification": "its certificate is for another name: connect by that name, or give it by --server-name",
    "WRONG_VERSION_NUMBER": "it does not speak TLS: leave --tls out",
    "Socket closed": "it has closed the connection: it may ask for TLS (--tls), or for a certificate (--cert and --key)",
}
"""What gRPC says of a connection that did not come to be, and what that means."""


def _unreachable(message: str, address: str) -> str:
    for sign, meaning in _HANDSHAKES.items():
        if sign in message:
            return f"no connection to {address}: {meaning}"
    return (
        f"no holdfast server takes calls at {address} ({message}); start one with holdfast serve --bundle DIR, or give its"
        " address"
    )


_TOO_LARGE = re.compile(
    r"(?P<by>CLIENT|SERVER)?\W*(?P<way>Sent|Received) message larger than max \((?P<size>\d+) vs\. (?P<limit>\d+)\)"
)
"""What gRPC says where a message is longer than an end of the connection takes; it has no code of its own for that."""


def _too_large(code: grpc.StatusCode, message: str, address: str) -> MessageTooLargeError | None:
    found = _TOO_LARGE.search(message)
    if found is None:
        return None
    size, limit = int(found["size"]), int(found["limit"])
    # Old versions of gRPC do not say which end complains: this one then has received the answer.
    sent = (found["by"], found["way"]) in {("SERVER", "Received"), ("CLIENT", "Sent")}
    if sent:
        what = f"the call has {size:,} bytes, and {address} takes messages of at most {limit:,}"
        advice = "send fewer or smaller images at once, or start the server with a larger --max-message-bytes"
    else:
        what = f"the answer of {address} would have {size:,} bytes, and a message may have at most {limit:,}"
        advice = "ask for fewer images or neighbours at once"
    return MessageTooLargeError(f"{what}: {advice}", code, size=size, limit=limit, sent=sent)


def _overloaded(code: grpc.StatusCode, message: str, status: status_pb2.Status, address: str) -> ClientError:
    wait = _retry_after(status)
    if wait is None:
        # What holdfast says of its own limits, and of a full disk, ends in what to do. gRPC and proxies do not say it.
        advice = "" if status.code else "; try again later, or with less at once"
        return OverloadedError(f"{address} refused the call: {message}{advice}", code, None)
    return OverloadedError(f"{address} refused the call for now ({message}); try again in {wait:.2g} s", code, wait)


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
