"""Which exemplars there are, in memory: those of the base, and what the journal says of them and of others."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from holdfast.bundle.exemplars import Exemplars
from holdfast.model.answers import Ints
from holdfast.server.store.errors import UnknownExemplarError
from holdfast.server.store.journal.schema import StoredRow
from holdfast.server.store.records import State


class BaseRows:
    """The exemplars of the bundle that a journal stands on."""

    def __init__(self, table: Exemplars) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def _order(self) -> Ints | None:
        """Rows by ascending id; None where they ascend already."""
        ids = self.table.ids
        return None if bool((ids[1:] > ids[:-1]).all()) else np.argsort(ids)

    @cached_property
    def ids(self) -> Ints:
        """All ids, ascending."""
        return self.table.ids if self._order is None else self.table.ids[self._order]

    def row_of(self, exemplar_id: int) -> int | None:
        """The row of an id in the table, or None."""
        place = int(np.searchsorted(self.ids, exemplar_id))
        if place == len(self.ids) or self.ids[place] != exemplar_id:
            return None
        return place if self._order is None else int(self._order[place])

    def rows_after(self, after_id: int, label: int | None) -> Iterator[int]:
        """Rows of the table by ascending id, those above an id, of one label where asked for."""
        place = int(np.searchsorted(self.ids, after_id, side="right"))
        for start in range(place, len(self.ids), 4096):
            part = np.arange(start, min(start + 4096, len(self.ids)))
            rows = part if self._order is None else self._order[part]
            yield from (rows if label is None else rows[self.table.labels[rows] == label]).tolist()


@dataclass
class Catalogue:
    """What is known of exemplars and classes. One thread changes it, by `draft` and `keep`.

    Attributes:
        base: of the bundle.
        rows: what the journal says, by id: exemplars that are not in the base, and those of it that were changed.
        class_names: by label id.
        counts: exemplars that are served, by label id.
        next_id: of the next new exemplar.
        quarantined: exemplars that wait for approval.

    """

    base: BaseRows
    class_names: tuple[str, ...]
    rows: dict[int, StoredRow] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)
    next_id: int = 0
    quarantined: int = 0

    @classmethod
    def of(cls, base: BaseRows, class_names: tuple[str, ...], rows: list[StoredRow], largest_id: int) -> "Catalogue":
        """From what a journal and a base hold."""
        counts = np.bincount(base.table.labels, minlength=len(class_names)).tolist()
        known = cls(base, class_names, {}, counts, max(largest_id, int(base.ids[-1]) if len(base) else -1) + 1)
        for row in rows:
            known.put(row)
        return known

    def draft(self) -> "Catalogue":
        """A copy to be changed, which is kept or thrown away; rows are shared."""
        return Catalogue(self.base, self.class_names, _Overlay(self.rows), self.counts.copy(), self.next_id, self.quarantined)

    def keep(self, draft: "Catalogue") -> None:
        """Take over what a draft has changed."""
        assert isinstance(draft.rows, _Overlay)  # noqa: S101 - `draft` made it
        self.rows.update(draft.rows.own)
        self.class_names, self.counts = draft.class_names, draft.counts
        self.next_id, self.quarantined = draft.next_id, draft.quarantined

    @property
    def size(self) -> int:
        """Exemplars that are served or wait for approval."""
        return sum(self.counts) + self.quarantined

    def find(self, exemplar_id: int) -> StoredRow:
        """What is known of an exemplar that is not deleted; revision 0 for one of the base that nobody has changed.

        Raises:
            UnknownExemplarError: there is none of that id, or it is deleted.

        """
        known = self.rows.get(exemplar_id)
        if known is None and (row := self.base.row_of(exemplar_id)) is not None:
            label = int(self.base.table.labels[row])
            source = self.base.table.sources[row].encode(errors="replace").decode()  # a file's name may be no text
            return StoredRow(exemplar_id, 0, label, source, State.SERVED, "", "", 0.0, in_base=True, added=False)
        if known is None or known.state == State.DELETED:
            raise UnknownExemplarError(f"there is no exemplar {exemplar_id}; it may have been deleted")
        return known

    def put(self, row: StoredRow) -> None:
        """Remember a row as it is now."""
        try:
            was = self.find(row.id)
        except UnknownExemplarError:
            was = None
        for known, step in ((was, -1), (row, 1)):
            if known is not None and known.state == State.SERVED:
                self.counts[known.label] += step
            elif known is not None and known.state == State.QUARANTINED:
                self.quarantined += step
        self.rows[row.id] = row

    def begin_class(self, name: str) -> int:
        """The label id of a new class."""
        self.class_names = (*self.class_names, name)
        self.counts.append(0)
        return len(self.class_names) - 1


class _Overlay(dict[int, StoredRow]):
    """Rows over others that stay as they are. Only `get` and assignment are used."""

    def __init__(self, below: dict[int, StoredRow]) -> None:
        super().__init__()
        self._below = below

    @property
    def own(self) -> dict[int, StoredRow]:
        return self

    def get(self, key: int, default: StoredRow | None = None) -> StoredRow | None:  # type: ignore[override]
        found = super().get(key)
        return self._below.get(key, default) if found is None else found
