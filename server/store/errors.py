"""What a changed set of exemplars can be refused for. Each message says what is wrong and what to do."""

from holdfast.errors import HoldfastError


class StoreError(HoldfastError):
    """The root of the store's errors."""


class UnknownExemplarError(StoreError):
    """An id that no exemplar has, or whose exemplar is deleted."""


class UnknownLabelError(StoreError):
    """A class name or label id that there is none of."""


class InvalidChangeError(StoreError):
    """A change that can never be made: nothing in it, a class name that is no name, a request id used for another change."""


class StoreLimitError(StoreError):
    """More rows, classes, bytes or changes a second than the operator has allowed.

    Args:
        message: which limit, and how to raise it.
        retry_after: seconds after which the same change may pass; None where waiting does not help.

    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreFullError(StoreError):
    """The disk has no room for a change, which was refused as a whole. The server goes on, and later changes may pass."""


class StoreLockedError(StoreError):
    """Another process has the store open."""


class StoreClosedError(StoreError):
    """The store is going down, and takes no change any more."""


class JournalDamagedError(StoreError):
    """A journal whose bytes are not the ones that were written."""


class JournalMismatchError(StoreError):
    """A journal of another bundle, or of a newer holdfast."""
