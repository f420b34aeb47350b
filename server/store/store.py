"""Exemplars that change while they are served."""

from collections.abc import Mapping, Sequence

from holdfast.server.store.records import Author, ChangeReceipt, ExemplarRecord, LabelRecord, NewExemplar, State


class ExemplarStore:
    """Exemplars of the served bundle and all changes to them, durable and searchable. Belongs to one event loop.

    Every change is acknowledged after it is durable and after the model that has seen it is published. Each takes a request id:
    the same author's same id again gives the first receipt and changes nothing. All of a change is made, or none of it.

    Changes raise, beside what is said of each: StoreLimitError, StoreFullError, StoreClosedError, InvalidChangeError.
    """

    @property
    def sequence(self) -> int:
        """Of the latest change that is served."""
        raise NotImplementedError

    async def add(self, exemplars: Sequence[NewExemplar], request_id: str, author: Author) -> ChangeReceipt:
        """Embed, judge, store and serve new exemplars, all of them or none; doubtful ones go into quarantine."""
        raise NotImplementedError

    async def relabel(self, labels: Mapping[int, str], request_id: str, author: Author) -> ChangeReceipt:
        """Give exemplars other class names. Raises UnknownExemplarError."""
        raise NotImplementedError

    async def delete(self, ids: Sequence[int], request_id: str, author: Author) -> ChangeReceipt:
        """Let exemplars vote no more. Raises UnknownExemplarError."""
        raise NotImplementedError

    async def approve(self, ids: Sequence[int], request_id: str, author: Author) -> ChangeReceipt:
        """Let exemplars in quarantine vote. Raises UnknownExemplarError, also for one that is not in quarantine."""
        raise NotImplementedError

    async def drop(self, ids: Sequence[int], request_id: str, author: Author) -> ChangeReceipt:
        """Delete exemplars in quarantine. Raises UnknownExemplarError, also for one that is not in quarantine."""
        raise NotImplementedError

    async def list(
        self, label: str | None = None, state: State | None = None, after_id: int = -1, limit: int = 100
    ) -> Sequence[ExemplarRecord]:
        """Exemplars by id, those above `after_id`, at most `limit`; of one class or state only where asked for.

        Without a state, deleted ones are left out. Raises UnknownLabelError.
        """
        raise NotImplementedError

    async def get(self, exemplar_id: int) -> ExemplarRecord:
        """One exemplar, also a deleted one of the journal. Raises UnknownExemplarError."""
        raise NotImplementedError

    async def thumbnail(self, exemplar_id: int) -> bytes | None:
        """Its picture as PNG, at the size of the input contract; None where it was not kept. Raises UnknownExemplarError."""
        raise NotImplementedError

    async def labels(self) -> Sequence[LabelRecord]:
        """Every class, by label id."""
        raise NotImplementedError
