"""What there is, page by page: exemplars of the base and of the journal as one list."""

from collections.abc import Sequence

from holdfast.model.answers import Floats
from holdfast.server.store.errors import UnknownExemplarError, UnknownLabelError
from holdfast.server.store.journal.journal import ChangeJournal
from holdfast.server.store.journal.schema import StoredRow
from holdfast.server.store.records import ExemplarRecord, LabelRecord, State
from holdfast.server.store.served import StoreState


class Listing:
    """Reads a store. Any thread may call it.

    Journal and memory are read under the lock that a fold holds from its commit to its base in memory: in between the rows that
    were folded are in neither. It is not that of all changes, which wait for the disk, and for a reload that embeds pictures.
    """

    def __init__(self, journal: ChangeJournal, state: StoreState) -> None:
        self._journal, self._state = journal, state

    def labels(self) -> list[LabelRecord]:
        """Every class, by label id."""
        known = self._state.known
        names, counts = known.class_names, known.counts
        return [LabelRecord(i, name, count) for i, (name, count) in enumerate(zip(names, counts, strict=False))]

    def page(self, class_name: str | None, state: State | None, after_id: int, limit: int) -> list[ExemplarRecord]:
        """Exemplars above an id, at most `limit`, by id; without a state, those that are not deleted.

        Raises:
            UnknownLabelError: there is no such class.

        """
        with self._state.folding:
            label = None if class_name is None else self._label_id(class_name)
            found = self._journal.page(label, state, after_id, limit)
            found += self._changed_in_base(label, state, after_id)
            if state in {None, State.SERVED}:
                found += self._unchanged(label, after_id, limit)
            return self._records(sorted(found, key=lambda row: row.id)[:limit])

    def get(self, exemplar_id: int) -> ExemplarRecord:
        """One exemplar, also a deleted one. Raises UnknownExemplarError."""
        with self._state.folding:
            known = self._state.known
            row = known.rows.get(exemplar_id)
            if row is None and known.base.row_of(exemplar_id) is None:
                row = next(iter(self._journal.rows([exemplar_id])), None)
            return self._records([row if row is not None else known.find(exemplar_id)])[0]

    def thumbnail(self, exemplar_id: int) -> bytes | None:
        """A picture as PNG; None where it was not kept. Raises UnknownExemplarError."""
        pictures = self._journal.images([exemplar_id])
        if exemplar_id in pictures:
            return pictures[exemplar_id][1]
        self.get(exemplar_id)
        return None

    def pictured(self, ids: Sequence[int]) -> set[int]:
        """Those of some exemplars whose pictures were kept."""
        return self._journal.pictured(ids)

    def vector(self, exemplar_id: int) -> Floats | None:
        """The embedding float32 [D] that the journal holds of an exemplar; None where it is in the base, or of none."""
        return self._journal.vectors([exemplar_id]).get(exemplar_id)

    def _label_id(self, class_name: str) -> int:
        try:
            return self._state.served.class_names.index(class_name)
        except ValueError:
            raise UnknownLabelError(f"there is no class {class_name!r}; list the labels to see which there are") from None

    def _changed_in_base(self, label: int | None, state: State | None, after_id: int) -> list[StoredRow]:
        rows = [row for row in list(self._state.known.rows.values()) if row.in_base and row.id > after_id]
        wanted = [row for row in rows if (row.state != State.DELETED if state is None else row.state == state)]
        return [row for row in wanted if label is None or row.label == label]

    def _unchanged(self, label: int | None, after_id: int, limit: int) -> list[StoredRow]:
        known = self._state.known
        found: list[StoredRow] = []
        for row in known.base.rows_after(after_id, label):
            if len(found) == limit:
                break
            exemplar_id = int(known.base.table.ids[row])
            if exemplar_id not in known.rows:
                found.append(known.find(exemplar_id))
        return found

    def _records(self, rows: list[StoredRow]) -> list[ExemplarRecord]:
        """With what the base and the journal know of them, be they folded."""
        untouched = self._journal.rows([row.id for row in rows if row.revision == 0])
        folded = {row.id: row for row in untouched if row.in_base}
        return [self._record(folded.get(row.id, row)) for row in rows]

    def _record(self, row: StoredRow) -> ExemplarRecord:
        known = self._state.known
        source, flags, believed, place = row.source, 0, "", known.base.row_of(row.id)
        if row.label >= len(known.class_names):
            raise UnknownExemplarError(f"exemplar {row.id} is just being changed")
        if place is not None and row.in_base:
            table = known.base.table
            source = str(table.sources[place])
            if row.label == table.labels[place]:  # marks are of the class that the bundle has
                flags, taken_for = int(table.flags[place]), -1 if table.believed is None else int(table.believed[place])
                believed = known.class_names[taken_for] if taken_for >= 0 else ""
        return ExemplarRecord(
            row.id,
            known.class_names[row.label],
            source,
            row.state,
            flags,
            row.reason,
            row.author,
            row.time,
            row.revision,
            believed,
        )
