"""A requested change on its way: from the event loop to the thread that prepares it, to the one that writes it, and back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.server.store.changes import Approval, Change, Deletion
from holdfast.server.store.records import Author, ChangeReceipt, NewExemplar

if TYPE_CHECKING:
    import asyncio


@dataclass(frozen=True)
class AddRequest:
    """Exemplars that are not embedded yet."""

    exemplars: Sequence[NewExemplar]


@dataclass(frozen=True)
class RelabelRequest:
    """Class names by id, not judged yet."""

    labels: Mapping[int, str]


Requested = AddRequest | RelabelRequest | Deletion | Approval


@dataclass(eq=False)
class Ticket:
    """One change.

    Attributes:
        requested: what is to be done.
        request_id, author: whose it is.
        rows: exemplars that it touches.
        future: of the event loop that waits for it.
        fingerprint: of what was requested, once it is prepared.
        change: ready to be planned, likewise.

    """

    requested: Requested
    request_id: str
    author: Author
    rows: int
    future: "asyncio.Future[ChangeReceipt]"
    fingerprint: bytes = b""
    change: Change | None = field(default=None)

    @property
    def key(self) -> tuple[str, str]:
        """By which the journal knows it."""
        return self.author.name, self.request_id

    def succeed(self, receipt: ChangeReceipt) -> None:
        """Any thread may tell the caller what became of it."""
        self._tell(lambda: self.future.set_result(receipt))

    def fail(self, error: Exception) -> None:
        """Any thread may tell the caller that nothing was changed."""
        self._tell(lambda: self.future.set_exception(error))

    def _tell(self, tell: Callable[[], None]) -> None:
        loop = self.future.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: None if self.future.done() else tell())
