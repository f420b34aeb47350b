"""Every error that a call can end with. Each API has its own form for them."""

from collections.abc import Sequence

from holdfast.errors import ImageError


class RequestError(Exception):
    """A call that is wrong as a whole: `field` of the request message, and the reason for the caller."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


class InvalidRequestError(Exception):
    """A call with one or more faults: pairs of the field of the request message, and the reason for the caller."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {reason}" for field, reason in faults))
        self.faults = tuple(faults)


class UnreadableError(Exception):
    """A message that cannot be parsed, or that nobody would want to."""


class UnauthenticatedError(Exception):
    """A call without a token, or with one that nobody holds."""


class ForbiddenError(Exception):
    """A call whose token does not allow it."""


class UnavailableFeatureError(Exception):
    """A call for something that this server was not started with; says how to start it."""


class UnknownModelError(Exception):
    """A call for a model, or a version of it, that is not served; says which is."""

    def __init__(self, served: str, version: str) -> None:
        super().__init__(f"there is no such model here: {served!r} is served, in version {version!r}")


class QueueFullError(Exception):
    """More images than the server can hold; worth another try in `retry_after` seconds."""

    WHY = "the server is busy"

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"{self.WHY}; try again in {retry_after * 1000:.0f} ms")
        self.retry_after = retry_after


class NotInTimeError(QueueFullError):
    """There is room, but the answer could not be ready before the caller's deadline."""

    WHY = "the server is busy, and the answer would not be ready in time"


class CallerLimitError(QueueFullError):
    """There is room for others: this caller holds as much as one may, or sends more than one may."""

    WHY = "this caller asks for more than its share"


class CertifyLimitError(QueueFullError):
    """All callers together ask for more certificates than the server gives."""

    WHY = "callers ask for more certificates than this server gives"


class ModelChangedError(Exception):
    """Another model is served, or its exemplars have changed, since the first part of a call was answered."""

    def __init__(self) -> None:
        super().__init__("the model or its exemplars changed while the answers were certified; try again")


class DrainingError(Exception):
    """The server is going down, and takes nothing new."""

    def __init__(self) -> None:
        super().__init__("the server is draining; try another one")


class CallerGoneError(Exception):
    """The caller has left, or its connection has ended, before it took all of the reply: nobody hears of this."""

    def __init__(self) -> None:
        super().__init__("the caller has left")


class DeadlineError(Exception):
    """The caller's deadline passed before there was an answer."""

    def __init__(self) -> None:
        super().__init__("the deadline passed before there was an answer")


class EngineError(Exception):
    """The encoder, the index or the vote failed on a batch; the log says how."""

    MESSAGE = "the model failed on this batch; the server's log says how"

    def __init__(self) -> None:
        super().__init__(self.MESSAGE)


class IndexUnavailableError(EngineError):
    """The index lies on another machine, and does not answer now; the log says which and why."""

    MESSAGE = "the index does not answer; try again in a moment"


class EngineGoneError(Exception):
    """The process that runs the model has ended, and this one goes down with it."""

    def __init__(self) -> None:
        super().__init__("the server has lost its engine; try another one")


class EngineSilentError(Exception):
    """The process that runs the model is stopped or hangs: nothing was heard of it for some seconds."""

    def __init__(self) -> None:
        super().__init__("the server's engine does not answer now; try another server, or again in a moment")


def image_error_at(position: int, error: ImageError) -> ImageError:
    """The same error, its field named from the request down: "encoded" becomes "images[3].encoded"."""
    return ImageError(f"images[{position}].{error.field}", error.reason)
