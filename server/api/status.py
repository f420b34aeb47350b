"""The one table from exception to google.rpc.Status."""

import logging
from collections.abc import Sequence

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from holdfast.errors import ImageError
from holdfast.server.core.errors import (
    CallerGoneError,
    CallerLimitError,
    CertifyLimitError,
    DeadlineError,
    DrainingError,
    EngineError,
    EngineGoneError,
    EngineSilentError,
    ForbiddenError,
    IndexUnavailableError,
    InvalidRequestError,
    ModelChangedError,
    NotInTimeError,
    QueueFullError,
    RequestError,
    UnauthenticatedError,
    UnavailableFeatureError,
    UnknownModelError,
    UnreadableError,
)
from holdfast.server.store.errors import (
    InvalidChangeError,
    JournalDamagedError,
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

MESSAGE_BYTES = 1500
"""Of a message, and of the faults that are named beside it: gRPC's clients take 8 KiB of metadata, which carries the message
twice, the second time in base64, and give another error in the place of one that is longer."""

CODES: dict[type[Exception], grpc.StatusCode] = {
    ImageError: grpc.StatusCode.INVALID_ARGUMENT,
    UnreadableError: grpc.StatusCode.INVALID_ARGUMENT,
    RequestError: grpc.StatusCode.INVALID_ARGUMENT,
    QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NotInTimeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    CallerLimitError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    CertifyLimitError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ModelChangedError: grpc.StatusCode.UNAVAILABLE,
    DrainingError: grpc.StatusCode.UNAVAILABLE,
    CallerGoneError: grpc.StatusCode.CANCELLED,
    DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    EngineError: grpc.StatusCode.INTERNAL,
    IndexUnavailableError: grpc.StatusCode.UNAVAILABLE,
    EngineGoneError: grpc.StatusCode.UNAVAILABLE,
    EngineSilentError: grpc.StatusCode.UNAVAILABLE,
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnknownModelError: grpc.StatusCode.NOT_FOUND,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    UnavailableFeatureError: grpc.StatusCode.FAILED_PRECONDITION,
    UnknownExemplarError: grpc.StatusCode.NOT_FOUND,
    UnknownLabelError: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidChangeError: grpc.StatusCode.INVALID_ARGUMENT,
    JournalDamagedError: grpc.StatusCode.DATA_LOSS,
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
    return _status(code_of(error), _within(str(error)), _details(error))


def trailing_metadata(error: Exception, status: status_pb2.Status) -> Metadata:
    """What travels beside the status: its details, and for a full queue the pause after which clients may retry."""
    metadata: Metadata = ((DETAILS_KEY, status.SerializeToString()),)
    if (wait := _retry_after(error)) is not None:
        metadata += ((PUSHBACK_KEY, str(round(wait * 1000))),)
    return metadata


def _details(error: Exception) -> Sequence[Message]:
    faults = _faults(error)
    if faults:
        return (_bad_request(faults),)
    if (wait := _retry_after(error)) is not None:
        delay = Duration()
        delay.FromMilliseconds(round(wait * 1000))
        return (error_details_pb2.RetryInfo(retry_delay=delay),)
    return ()


def _bad_request(faults: Sequence[tuple[str, str]]) -> error_details_pb2.BadRequest:
    """As many faults as MESSAGE_BYTES take, one at least, and how many more there are."""
    named = error_details_pb2.BadRequest()
    for place, (field, reason) in enumerate(faults):
        more = error_details_pb2.BadRequest.FieldViolation(field=field, description=_within(reason))
        if place and named.ByteSize() + more.ByteSize() > MESSAGE_BYTES:
            named.field_violations.add(description=f"and {len(faults) - place:,} more")
            break
        named.field_violations.append(more)
    return named


def _within(message: str) -> str:
    """The message, cut where it has more than MESSAGE_BYTES as gRPC writes it: three for each byte that is not plain ASCII."""
    room = MESSAGE_BYTES
    for place, letter in enumerate(message):
        room -= 1 if " " <= letter <= "~" and letter != "%" else 3 * len(letter.encode("utf-8", "replace"))
        if room < 0:
            return f"{message[:place]} ..."
    return message


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
