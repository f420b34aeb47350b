"""Exemplars that wait for an operator, with what lies nearest to them."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.server.api.page.neighbours import ShownExemplar, nearest_to, with_thumbnails
from holdfast.server.core.holder import ModelHolder
from holdfast.server.monitor.page.background import BenchThread
from holdfast.server.store.records import ExemplarRecord, State
from holdfast.server.store.store import ExemplarStore

SHOWN, NEAREST = 12, 5
"""Exemplars on the page, the oldest first, and neighbours of each."""

REMEMBERED = 64
"""Exemplars whose neighbours are remembered until the model changes."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One exemplar in quarantine.

    Attributes:
        record: what is known of it.
        pictured: whether there is a thumbnail.
        nearest: exemplars that vote, the nearest first; none of one whose embedding is not at hand.

    """

    record: ExemplarRecord
    pictured: bool
    nearest: Sequence[ShownExemplar]


class QuarantineView:
    """Reads the quarantine. Belongs to one event loop.

    Args:
        store: of exemplars.
        holder: of the model.
        thread: searches.
        sources: whether neighbours' sources are told.

    """

    def __init__(self, store: ExemplarStore, holder: ModelHolder, thread: BenchThread, *, sources: bool) -> None:
        self._store, self._holder, self._thread, self._sources = store, holder, thread, sources
        self._nearest: OrderedDict[tuple[int, int, int], Sequence[ShownExemplar]] = OrderedDict()

    async def read(self) -> list[Quarantined]:
        """Those that wait longest."""
        records = await self._store.list(state=State.QUARANTINED, limit=SHOWN)
        pictured = await self._store.pictured([record.id for record in records])
        return [Quarantined(record, record.id in pictured, await self._nearest_of(record)) for record in records]

    async def _nearest_of(self, record: ExemplarRecord) -> Sequence[ShownExemplar]:
        snapshot = self._holder.current
        key = record.id, record.revision, snapshot.version
        if key in self._nearest:
            self._nearest.move_to_end(key)
            return self._nearest[key]
        vector = await self._store.vector(record.id)
        if vector is None:
            return ()
        found = await self._thread.do(lambda: nearest_to(vector, snapshot, NEAREST, sources=self._sources))
        self._nearest[key] = await with_thumbnails(found, self._store)
        if len(self._nearest) > REMEMBERED:
            self._nearest.popitem(last=False)
        return self._nearest[key]
