"""The one table from exception to google.rpc.Status."""

import logging
from collections.abc import Sequence

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from holdfast.errors import ImageError
from holdfast.server.core.errors import (
    DeadlineError,
    DrainingError,
    EngineError,
    EngineGoneError,
    EngineSilentError,
    ForbiddenError,
    IndexUnavailableError,
    InvalidRequestError,
    QueueFullError,
    RequestError,
    UnauthenticatedError,
    UnavailableFeatureError,
)
from holdfast.server.store.errors import (
    InvalidChangeError,
    StoreClosedError,
    StoreFullError,
    StoreLimitError,
    UnknownExemplarError,
    UnknownLabelError,
)
from holdfast.server.versions.records import NoPreviousVersionError, UnknownVersionError, VersionRefusedError

log = logging.getLogger(__name__)

Metadata = tuple[tuple[str, str | bytes], ...]

DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"

CODES: dict[type[Exception], grpc.StatusCode] = {
    ImageError: grpc.StatusCode.INVALID_ARGUMENT,
    RequestError: grpc.StatusCode.INVALID_ARGUMENT,
    QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DrainingError: grpc.StatusCode.UNAVAILABLE,
    DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    EngineError: grpc.StatusCode.INTERNAL,
    IndexUnavailableError: grpc.StatusCode.UNAVAILABLE,
    EngineGoneError: grpc.StatusCode.UNAVAILABLE,
    EngineSilentError: grpc.StatusCode.UNAVAILABLE,
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    UnavailableFeatureError: grpc.StatusCode.FAILED_PRECONDITION,
    UnknownExemplarError: grpc.StatusCode.NOT_FOUND,
    UnknownLabelError: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidChangeError: grpc.StatusCode.INVALID_ARGUMENT,
    StoreLimitError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StoreFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StoreClosedError: grpc.StatusCode.UNAVAILABLE,
    UnknownVersionError: grpc.StatusCode.NOT_FOUND,
    NoPreviousVersionError: grpc.StatusCode.FAILED_PRECONDITION,
    VersionRefusedError: grpc.StatusCode.FAILED_PRECONDITION,
}


def code_of(error: Exception) -> grpc.StatusCode:
    """The status code of an error; INTERNAL of what is not in the table."""
    return CODES.get(type(error), grpc.StatusCode.INTERNAL)


def to_status(error: Exception) -> status_pb2.Status:
    """The error as google.rpc.Status. What is not in the table is INTERNAL, logged here, and its text kept from the caller."""
    if type(error) not in CODES:
        log.error("an unforeseen error in a call", exc_info=error)
        return _status(code_of(error), "an unforeseen error; the server's log says more")
    return _status(code_of(error), str(error), _details(error))


def trailing_metadata(error: Exception, status: status_pb2.Status) -> Metadata:
    """What travels beside the status: its details, and for a full queue the pause after which clients may retry."""
    metadata: Metadata = ((DETAILS_KEY, status.SerializeToString()),)
    if (wait := _retry_after(error)) is not None:
        metadata += ((PUSHBACK_KEY, str(round(wait * 1000))),)
    return metadata


def _details(error: Exception) -> Sequence[Message]:
    faults = _faults(error)
    if faults:
        violation = error_details_pb2.BadRequest.FieldViolation
        violations = [violation(field=field, description=reason) for field, reason in faults]
        return (error_details_pb2.BadRequest(field_violations=violations),)
    if (wait := _retry_after(error)) is not None:
        delay = Duration()
        delay.FromMilliseconds(round(wait * 1000))
        return (error_details_pb2.RetryInfo(retry_delay=delay),)
    return ()


def _faults(error: Exception) -> Sequence[tuple[str, str]]:
    """What is wrong with which field of a request."""
    match error:
        case ImageError() | RequestError():
            return ((error.field, error.reason),)
        case InvalidRequestError():
            return error.faults
        case UnknownLabelError():
            return (("label", str(error)),)
        case InvalidChangeError():
            return (("", str(error)),)
        case _:
            return ()


def _retry_after(error: Exception) -> float | None:
    """Seconds after which the same call may pass; None where waiting does not help."""
    return error.retry_after if isinstance(error, QueueFullError | StoreLimitError) else None


def _status(code: grpc.StatusCode, message: str, details: Sequence[Message] = ()) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status
