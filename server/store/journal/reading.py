"""What is asked of the journal. Every row that is read is compared with its checksum."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from holdfast.model.answers import Floats
from holdfast.server.store.errors import InvalidChangeError
from holdfast.server.store.journal.database import Database
from holdfast.server.store.journal.schema import Standing, StoredRow, check
from holdfast.server.store.records import ChangeReceipt, State

COLUMNS = "id, revision, label, source, state, reason, author, time, in_base, added"

CHANGE_COLUMNS = "sequence, time, author, request_id, kind, fingerprint, ids, states, detail, changed"


class JournalReader:
    """The questions. Each raises JournalDamagedError where a row, or a page, is not what was written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def identity(self) -> str:
        """Its own, wherever the directory is moved to."""
        return str(self._database.read("SELECT value FROM meta WHERE key = 'identity'")[0][0])

    def standing(self) -> Standing | None:
        """Which bundle it stands on; None for a new journal."""
        found = self._database.read("SELECT value FROM meta WHERE key = 'standing'")
        if not found:
            return None
        values = json.loads(found[0][0])
        return Standing(**values | {"class_names": tuple(values["class_names"])})

    @property
    def sequence(self) -> int:
        """Of the latest change; 0 where there was none."""
        return int(self._database.read("SELECT coalesce(max(sequence), 0) FROM changes")[0][0])

    @property
    def disk_bytes(self) -> int:
        """Size on disk, the write-ahead file left out."""
        pages, size = (int(self._database.read(f"PRAGMA {name}")[0][0]) for name in ("page_count", "page_size"))
        return pages * size

    def changed_since(self, sequence: int) -> int:
        """Rows of the served index that were changed after a sequence, one that was changed twice counted twice."""
        select = "SELECT coalesce(sum(changed), 0) FROM changes WHERE sequence > ?"
        return int(self._database.read(select, [sequence])[0][0])

    def receipt(self, author: str, request_id: str, fingerprint: bytes) -> ChangeReceipt | None:
        """Of the change that was made under this id before; None where there was none.

        Raises:
            InvalidChangeError: that was another change.

        """
        found = self._changes("author = ? AND request_id = ?", (author, request_id))
        if not found:
            return None
        change = found[0]
        if change["fingerprint"] != fingerprint:
            raise InvalidChangeError(
                f"request id {request_id!r} was used for another change: give each change an id of its own"
            )
        states = tuple(State(state) for state in change["states"])
        return ChangeReceipt(change["sequence"], tuple(change["ids"]), states, repeated=True)

    def rows(self, ids: Iterable[int] | None = None) -> list[StoredRow]:
        """Exemplars that are not folded into the base; or those of some ids that the journal has, folded or not."""
        select = f"SELECT {COLUMNS}, checksum FROM exemplars"  # noqa: S608 - no text of a caller
        found = (
            self._database.read(f"{select} WHERE folded = 0 ORDER BY id")
            if ids is None
            else self._database.read_some(select, ids)
        )
        return [self._row(values) for values in found]

    def rows_with_folded(self) -> list[StoredRow]:
        """Every exemplar that it ever had."""
        found = self._database.read(f"SELECT {COLUMNS}, checksum FROM exemplars ORDER BY id")  # noqa: S608
        return [self._row(values) for values in found]

    def rows_since(self, revision: int) -> list[StoredRow]:
        """Exemplars that were changed after a sequence, as they are now, by id."""
        select = f"SELECT {COLUMNS}, checksum FROM exemplars WHERE revision > ? ORDER BY id"  # noqa: S608 - no text of a caller
        return [self._row(values) for values in self._database.read(select, [revision])]

    def page(self, label: int | None, state: State | None, after_id: int, limit: int) -> list[StoredRow]:
        """Exemplars that are not in the base, by id; without a state, those that are not deleted."""
        where, values = "in_base = 0 AND id > ?", [after_id]
        if label is not None:
            where, values = f"{where} AND label = ?", [*values, label]
        where = f"{where} AND state {'!=' if state is None else '='} ?"
        values = [*values, int(State.DELETED if state is None else state), limit]
        found = self._database.read(f"SELECT {COLUMNS}, checksum FROM exemplars WHERE {where} ORDER BY id LIMIT ?", values)  # noqa: S608
        return [self._row(each) for each in found]

    def labels(self) -> dict[int, str]:
        """The classes that began in this journal, by label id."""
        where = self._database.path
        found = self._database.read("SELECT id, name, revision, checksum FROM labels ORDER BY id")
        for values in found:
            check(f"label {values[0]} of {where}", values[-1], *values[:-1])
        return {values[0]: values[1] for values in found}

    def vectors(self, ids: Iterable[int]) -> dict[int, Floats]:
        """The embeddings that the journal holds of some exemplars, float32 [D], by id."""
        found = self._database.read_some("SELECT id, vector, checksum FROM embeddings", ids)
        for values in found:
            check(f"the embedding of exemplar {values[0]} of {self._database.path}", values[-1], *values[:-1])
        return {values[0]: np.frombuffer(values[1], dtype=np.float32) for values in found}

    def images(self, ids: Iterable[int]) -> dict[int, tuple[bytes | None, bytes]]:
        """The pictures that were kept of some exemplars: as sent, and as PNG."""
        found = self._database.read_some("SELECT id, image, thumbnail, checksum FROM images", ids)
        for values in found:
            check(f"the image of exemplar {values[0]} of {self._database.path}", values[-1], *values[:-1])
        return {values[0]: (values[1], values[2]) for values in found}

    def pictured(self, ids: Iterable[int]) -> set[int]:
        """Those of some exemplars whose pictures were kept."""
        return {values[0] for values in self._database.read_some("SELECT id FROM images", ids)}

    @property
    def largest_id(self) -> int:
        """Of all exemplars that it ever had; -1 for none."""
        return int(self._database.read("SELECT coalesce(max(id), -1) FROM exemplars")[0][0])

    def audit(self, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """Changes after a sequence: who made which, and when. None is ever deleted."""
        return self._changes("sequence > ? ORDER BY sequence LIMIT ?", (after, limit))

    def _changes(self, where: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        names = CHANGE_COLUMNS.split(", ")
        select = f"SELECT {CHANGE_COLUMNS}, checksum FROM changes WHERE {where}"  # noqa: S608 - no text of a caller
        changes = []
        for row in self._database.read(select, values):
            check(f"change {row[0]} of {self._database.path}", row[-1], *row[:-1])
            change = dict(zip(names, row[:-1], strict=True))
            changes.append(change | {name: json.loads(change[name]) for name in ("ids", "states", "detail")})
        return changes

    def _row(self, values: tuple[Any, ...]) -> StoredRow:
        return StoredRow.of(values, str(self._database.path))
