"""Exemplars that change while they are served."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from prometheus_client import CollectorRegistry

from holdfast.bundle.reader import Bundle
from holdfast.model.answers import Answers, Floats
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.exemplars import ExemplarMetrics
from holdfast.server.store.changes import Approval, Deletion
from holdfast.server.store.checks import check_names, check_new, check_request
from holdfast.server.store.errors import StoreClosedError, StoreLimitError
from holdfast.server.store.journal.creation import BUNDLES
from holdfast.server.store.journal.journal import ChangeJournal
from holdfast.server.store.limits import RateLimit
from holdfast.server.store.listing import Listing
from holdfast.server.store.mirror import Mirror, mirror_of
from holdfast.server.store.opening import Base, held_out_of, standing_of, stands_elsewhere, state_of
from holdfast.server.store.options import StoreOptions
from holdfast.server.store.pipeline.preparation import Preparation
from holdfast.server.store.pipeline.tickets import AddRequest, RelabelRequest, Requested, Ticket
from holdfast.server.store.pipeline.writer import Writer
from holdfast.server.store.records import (
    Author,
    ChangeReceipt,
    ExemplarRecord,
    Judge,
    LabelRecord,
    NewExemplar,
    State,
    pass_all,
)
from holdfast.server.store.served import StoreState
from holdfast.server.store.upkeep.compaction import clear_leftovers
from holdfast.server.store.upkeep.maintenance import Ground, Maintenance, base_at
from holdfast.server.store.upkeep.moving import Destination, Publish, follow


class ExemplarStore:
    """Exemplars of the served bundle and all changes to them, durable and searchable. Belongs to one event loop.

    Every change is acknowledged after it is durable and after the model that has seen it is published. Each takes a request id:
    the same author's same id again gives the first receipt and changes nothing. All of a change is made, or none of it.

    Changes raise, beside what is said of each: StoreLimitError, StoreFullError, StoreClosedError, InvalidChangeError.
    """

    def __init__(
        self,
        options: StoreOptions,
        journal: ChangeJournal,
        state: StoreState,
        ground: Ground,
        mirror: Mirror | None = None,
    ) -> None:
        self._options, self._journal, self._state, self._mirror = options, journal, state, mirror
        self._maintenance = Maintenance(options, journal, state, ground, self._show)
        self._writer = Writer(journal, state, options.limits, self._changed)
        self._rate = RateLimit(options.limits.rate)
        self._listing = Listing(journal, state)
        self._waiting = 0
        self._open = False
        self._preparation: Preparation | None = None
        self._metrics: ExemplarMetrics | None = None

    @classmethod
    def open(cls, options: StoreOptions, bundle: Bundle, snapshot: ModelSnapshot) -> Self:
        """Open a store over a bundle, or begin one. Follow with `start`.

        Args:
            options: how it is kept.
            bundle: the one that is to be served.
            snapshot: its model.

        Raises:
            StoreLockedError: another process has it open, or another store writes to the bundle's index.
            JournalMismatchError: it belongs to another bundle.
            JournalDamagedError: its bytes are not those that were written.

        """
        journal = ChangeJournal.open(options.directory)
        try:
            if options.follow and stands_elsewhere(journal, bundle.manifest):
                follow(journal, Destination(bundle, snapshot, options.stale_above), lambda model: model)
            standing = standing_of(journal, bundle.manifest, bundle.directory)
            clear_leftovers(options.directory, standing.base)
            if standing.base:
                base = base_at(options.directory / BUNDLES / standing.base, snapshot.description.placement.device)
            else:
                base = Base.of(bundle, snapshot.classifier.surrogate)
            state = state_of(journal, base, options.stale_above, standing.folded)
            mirror = mirror_of(bundle.index, journal, lambda: (state.served.class_names, state.served.index.size))
        except BaseException:
            journal.close()
            raise
        return cls(options, journal, state, Ground(bundle.directory, held_out_of(bundle)), mirror)

    def placed_in(self, snapshot: ModelSnapshot) -> ModelSnapshot:
        """The model of the bundle with the exemplars of the store."""
        return self._state.served.placed_in(snapshot)

    def start(
        self,
        holder: ModelHolder,
        registry: CollectorRegistry,
        judge: Judge = pass_all,
        recent: Callable[[], Answers | None] = lambda: None,
    ) -> None:
        """Take changes from now on.

        Args:
            holder: of the model, which serves what `placed_in` made.
            registry: of the engine's process.
            judge: says which new exemplars go into quarantine.
            recent: a sample of the latest answers.

        """
        self._metrics = ExemplarMetrics(registry)
        self._preparation = Preparation(
            lambda: holder.current,
            self._state,
            judge,
            recent,
            keep_images=self._options.keep_images,
            hand_on=self._writer.put,
        )
        self._writer.start(holder, self._metrics)
        self._preparation.start()
        self._maintenance.start(holder, self._metrics)
        if self._mirror is not None:
            self._mirror.start()
        self._open = True
        self._show()

    async def stop(self) -> None:
        """Make the changes that wait, and close the journal."""
        self._open = False
        for part in (self._preparation, self._writer, self._maintenance, self._mirror):
            if part is not None:
                await asyncio.to_thread(part.stop)
        self._journal.close()

    @property
    def sequence(self) -> int:
        """Of the latest change that is served."""
        return self._state.served.sequence

    @property
    def quarantined(self) -> int:
        """Exemplars that wait for approval."""
        return self._state.known.quarantined

    async def add(self, exemplars: Sequence[NewExemplar], request_id: str, author: Author) -> ChangeReceipt:
        """Embed, judge, store and serve new exemplars, all of them or none; doubtful ones go into quarantine."""
        check_request(request_id, exemplars)
        check_new(exemplars, self._state.served.class_names)
        return await self._make(AddRequest(tuple(exemplars)), len(exemplars), request_id, author)

    async def relabel(self, labels: Mapping[int, str], request_id: str, author: Author) -> ChangeReceipt:
        """Give exemplars other class names; doubtful ones go into quarantine. Raises UnknownExemplarError."""
        check_request(request_id, list(labels))
        check_names(labels.values(), self._state.served.class_names)
        return await self._make(RelabelRequest(dict(labels)), len(labels), request_id, author)

    async def delete(self, ids: Sequence[int], request_id: str, author: Author) -> ChangeReceipt:
        """Let exemplars vote no more. Raises UnknownExemplarError."""
        check_request(request_id, ids, ids)
        return await self._make(Deletion(tuple(ids)), len(ids), request_id, author)

    async def approve(self, ids: Sequence[int], request_id: str, author: Author) -> ChangeReceipt:
        """Let exemplars in quarantine vote. Raises UnknownExemplarError, also for one that is not in quarantine."""
        check_request(request_id, ids, ids)
        return await self._make(Approval(tuple(ids)), len(ids), request_id, author)

    async def drop(self, ids: Sequence[int], request_id: str, author: Author) -> ChangeReceipt:
        """Delete exemplars in quarantine. Raises UnknownExemplarError, also for one that is not in quarantine."""
        check_request(request_id, ids, ids)
        return await self._make(Deletion(tuple(ids), quarantined=True), len(ids), request_id, author)

    async def list(
        self, label: str | None = None, state: State | None = None, after_id: int = -1, limit: int = 100
    ) -> Sequence[ExemplarRecord]:
        """Exemplars by id, those above `after_id`, at most `limit`; of one class or state only where asked for.

        Without a state, deleted ones are left out. Raises UnknownLabelError.
        """
        return await asyncio.to_thread(self._listing.page, label, state, after_id, limit)

    async def get(self, exemplar_id: int) -> ExemplarRecord:
        """One exemplar, also a deleted one of the journal. Raises UnknownExemplarError."""
        return await asyncio.to_thread(self._listing.get, exemplar_id)

    async def thumbnail(self, exemplar_id: int) -> bytes | None:
        """Its picture as PNG, at the size of the input contract; None where it was not kept. Raises UnknownExemplarError."""
        return await asyncio.to_thread(self._listing.thumbnail, exemplar_id)

    async def pictured(self, ids: Sequence[int]) -> set[int]:
        """Those of some exemplars that have a thumbnail."""
        return await asyncio.to_thread(self._listing.pictured, ids)

    async def vector(self, exemplar_id: int) -> Floats | None:
        """The embedding float32 [D] of an exemplar that was added and is not folded into a bundle; None of others."""
        return await asyncio.to_thread(self._listing.vector, exemplar_id)

    async def labels(self) -> Sequence[LabelRecord]:
        """Every class, by label id."""
        return self._listing.labels()

    async def follow(self, bundle: Bundle, snapshot: ModelSnapshot, publish: Publish) -> None:
        """Serve another bundle with everything that was changed; changes wait meanwhile.

        Args:
            bundle: the next one, opened.
            snapshot: its model, unchanged.
            publish: serves a model.

        Raises:
            JournalMismatchError: pictures of added exemplars were not kept, and its encoder or its index is another one.
            HoldfastError: there is no room, or `publish` refuses. What was served before is served then.

        """
        to = Destination(bundle, snapshot, self._options.stale_above)
        await asyncio.to_thread(self._maintenance.follow, to, publish, held_out_of(bundle))

    async def compact(self) -> None:
        """Fold all changes into a bundle of the store's own now. Raises HoldfastError; nothing is lost then."""
        await asyncio.to_thread(self._maintenance.compact)

    async def _make(self, requested: Requested, rows: int, request_id: str, author: Author) -> ChangeReceipt:
        if not self._open or self._preparation is None:
            raise StoreClosedError("the store is going down; try again once the server is back")
        most = self._options.limits.waiting
        if self._waiting and self._waiting + rows > most:
            raise StoreLimitError(f"{self._waiting} exemplars wait to be stored, and {most} may: try again in a second", 1.0)
        self._rate.take(author.name, rows)
        future: asyncio.Future[ChangeReceipt] = asyncio.get_running_loop().create_future()
        self._waiting += rows
        try:
            self._preparation.put(Ticket(requested, request_id, author, rows, future))
            return await future
        finally:
            self._waiting -= rows

    def _changed(self) -> None:
        """After each publication, before it is acknowledged, on the writer's thread."""
        if self._mirror is not None:
            self._mirror.notify()
        self._show()
        self._maintenance.look()

    def _show(self) -> None:
        if self._metrics is not None:
            self._state.show(self._metrics, self._journal.disk_bytes)
