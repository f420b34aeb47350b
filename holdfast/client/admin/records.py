"""What the admin client takes and returns, as plain values."""

from dataclasses import dataclass
from datetime import UTC, datetime

from holdfast.client.errors import ClientError
from holdfast.client.messages import ImageLike
from holdfast.protos.holdfast.admin.v1 import exemplar_pb2, version_pb2


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """An image to be added, the name of its class, and where it comes from."""

    image: ImageLike
    label: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class AddedImage:
    """An image that was added: its id, its state ("served" or "quarantined"), and why it is in quarantine."""

    id: int
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AddOutcome:
    """What became of one call.

    Attributes:
        sequence: of the change; 0 where nothing was added.
        images: of each image what it is now, or why it could not be used.
        repeated: the request id was known: what stands here was done by the call before.

    """

    sequence: int
    images: tuple[AddedImage | ClientError, ...]
    repeated: bool


@dataclass(frozen=True, slots=True)
class ExemplarInfo:
    """One exemplar.

    Attributes:
        id: its own.
        label: the name of its class.
        source: where its picture came from.
        state: "served", "quarantined" or "deleted".
        flags: its marks: "disagrees", "attacked", "doubted", "pseudo".
        reason: why it is, or was, in quarantine.
        author: who changed it last.
        changed: when, in UTC; None for what came with the bundle.
        revision: of that change.
        believed: of a doubted one the name of the class that it is taken for; else "".

    """

    id: int
    label: str
    source: str
    state: str
    flags: tuple[str, ...]
    reason: str
    author: str
    changed: datetime | None
    revision: int
    believed: str = ""


@dataclass(frozen=True, slots=True)
class LabelCount:
    """A class: its index, its name, and the exemplars that vote for it."""

    index: int
    name: str
    exemplars: int


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A version of the bundle; `loaded` is in UTC, None where it is not loaded."""

    name: str
    state: str
    loaded: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How much there is of everything, and what one call may carry."""

    name: str
    model_version: int
    exemplars: int
    quarantined: int
    classes: int
    keeps_store: bool
    sequence: int
    images_per_call: int
    message_bytes: int
    pixels_per_image: int


def to_exemplar(message: exemplar_pb2.Exemplar) -> ExemplarInfo:
    """One exemplar."""
    return ExemplarInfo(
        id=message.id,
        label=message.label,
        source=message.source,
        state=state_name(message.state),
        flags=tuple(exemplar_pb2.ExemplarFlag.Name(flag).removeprefix("EXEMPLAR_FLAG_").lower() for flag in message.flags),
        reason=message.reason,
        author=message.author,
        changed=message.time.ToDatetime(UTC) if message.HasField("time") else None,
        revision=message.revision,
        believed=message.believed,
    )


def to_version(message: version_pb2.Version) -> VersionInfo:
    """One version."""
    return VersionInfo(
        name=message.name,
        state=version_pb2.VersionState.Name(message.state).removeprefix("VERSION_STATE_").lower(),
        loaded=message.loaded_at.ToDatetime(UTC) if message.HasField("loaded_at") else None,
        reason=message.reason,
    )


def state_name(state: exemplar_pb2.ExemplarState) -> str:
    """As it is written: "served", "quarantined" or "deleted"."""
    return exemplar_pb2.ExemplarState.Name(state).removeprefix("EXEMPLAR_STATE_").lower()


def state_of(name: str | None) -> exemplar_pb2.ExemplarState:
    """The other way round; None is any state but deleted."""
    return _STATES[name]


_STATES = {
    None: exemplar_pb2.EXEMPLAR_STATE_UNSPECIFIED,
    "served": exemplar_pb2.EXEMPLAR_STATE_SERVED,
    "quarantined": exemplar_pb2.EXEMPLAR_STATE_QUARANTINED,
    "deleted": exemplar_pb2.EXEMPLAR_STATE_DELETED,
}
