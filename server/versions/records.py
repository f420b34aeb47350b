"""What operators are told about versions, and the errors of changing between them."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from holdfast.errors import HoldfastError


class VersionState(Enum):
    """Where a version stands."""

    AVAILABLE = "available"  # it lies there and was not loaded
    LOADING = "loading"  # it is being verified, loaded and tried beside the served one
    SERVED = "served"
    PREVIOUS = "previous"  # it was served before; a rollback brings it back
    SHADOW = "shadow"  # it answers a share of the traffic, and nobody gets its answers
    REFUSED = "refused"  # the reason says why


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One version.

    Attributes:
        name: of its directory.
        state: where it stands.
        loaded_at: when it was loaded, in UTC; None where it is not loaded.
        reason: why it was refused, or what else there is to say; "" where there is nothing.

    """

    name: str
    state: VersionState
    loaded_at: datetime | None = None
    reason: str = ""


class VersionError(HoldfastError):
    """The served version could not be changed, and is what it was."""


class UnknownVersionError(VersionError):
    """There is no version of that name."""


class NoPreviousVersionError(VersionError):
    """There is nothing to go back to."""


class VersionRefusedError(VersionError):
    """A version was looked at and will not do; the message says why."""
