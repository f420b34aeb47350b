"""Between holdfast.admin.v1's messages and the store's values."""

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.bundle.exemplars import Flag
from holdfast.errors import ImageError
from holdfast.protos.holdfast.admin.v1 import admin_pb2, exemplar_pb2, version_pb2
from holdfast.server.api.holdfast_v1_messages import printable
from holdfast.server.api.status import to_status
from holdfast.server.core.errors import InvalidRequestError
from holdfast.server.store.records import ChangeReceipt, ExemplarRecord, LabelRecord, State
from holdfast.server.versions.records import VersionRecord, VersionState

_STATES = {
    State.SERVED: exemplar_pb2.EXEMPLAR_STATE_SERVED,
    State.QUARANTINED: exemplar_pb2.EXEMPLAR_STATE_QUARANTINED,
    State.DELETED: exemplar_pb2.EXEMPLAR_STATE_DELETED,
}
_FLAGS = {
    Flag.DISAGREES: exemplar_pb2.EXEMPLAR_FLAG_DISAGREES,
    Flag.ATTACKED: exemplar_pb2.EXEMPLAR_FLAG_ATTACKED,
    Flag.DOUBTED: exemplar_pb2.EXEMPLAR_FLAG_DOUBTED,
    Flag.PSEUDO: exemplar_pb2.EXEMPLAR_FLAG_PSEUDO,
}
_VERSION_STATES = {
    VersionState.AVAILABLE: version_pb2.VERSION_STATE_AVAILABLE,
    VersionState.LOADING: version_pb2.VERSION_STATE_LOADING,
    VersionState.SERVED: version_pb2.VERSION_STATE_SERVED,
    VersionState.PREVIOUS: version_pb2.VERSION_STATE_PREVIOUS,
    VersionState.SHADOW: version_pb2.VERSION_STATE_SHADOW,
    VersionState.REFUSED: version_pb2.VERSION_STATE_REFUSED,
}


def state_of(value: int) -> State | None:
    """The state that a request names; None where it names none. Raises InvalidRequestError for one that there is not."""
    if value == exemplar_pb2.EXEMPLAR_STATE_UNSPECIFIED:
        return None
    for state, message in _STATES.items():
        if message == value:
            return state
    raise InvalidRequestError([("state", f"is {value}; there is no such state")])


def added(
    receipt: ChangeReceipt, outcomes: Iterable[ImageError | int], reasons: dict[int, str]
) -> list[exemplar_pb2.AddResult]:
    """One result per image: what is wrong with it, or its place among the rows of the receipt."""
    results = []
    for outcome in outcomes:
        if isinstance(outcome, ImageError):
            results.append(exemplar_pb2.AddResult(error=to_status(outcome)))
            continue
        number, state = receipt.ids[outcome], receipt.states[outcome]
        row = exemplar_pb2.AddedExemplar(id=number, state=_STATES[state], reason=reasons.get(number, ""))
        results.append(exemplar_pb2.AddResult(added=row))
    return results


def states_of(receipt: ChangeReceipt) -> list[exemplar_pb2.ExemplarState]:
    """Where each exemplar of a change stands."""
    return [_STATES[state] for state in receipt.states]


def exemplar(record: ExemplarRecord) -> exemplar_pb2.Exemplar:
    """One exemplar."""
    return exemplar_pb2.Exemplar(
        id=record.id,
        label=record.label,
        source=printable(record.source),
        state=_STATES[record.state],
        flags=[message for flag, message in _FLAGS.items() if record.flags & flag],
        reason=record.reason,
        author=record.author,
        time=_moment(record.time) if record.time else None,
        revision=record.revision,
        believed=record.believed,
    )


def label_summary(record: LabelRecord) -> exemplar_pb2.LabelSummary:
    """One class."""
    return exemplar_pb2.LabelSummary(index=record.id, name=record.name, exemplars=record.exemplars)


def version(record: VersionRecord) -> version_pb2.Version:
    """One version of the bundle."""
    loaded = _moment(record.loaded_at.timestamp()) if record.loaded_at is not None else None
    return version_pb2.Version(
        name=printable(record.name), state=_VERSION_STATES[record.state], loaded_at=loaded, reason=printable(record.reason)
    )


def limits(images: int, message_bytes: int, pixels: int) -> admin_pb2.AdminLimits:
    """What one call may carry."""
    return admin_pb2.AdminLimits(images_per_call=images, message_bytes=message_bytes, pixels_per_image=pixels)


def _moment(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(round(seconds * 1e6))
    return moment
