"""The journal: every change of the exemplars, durable before it is acknowledged.

SQLite in write-ahead mode with synchronous=FULL: a commit is one append to one file and one fsync, where the rollback journal
costs three or four. SQLite checks each frame of that file, so a tail that a power cut has left half written is left out, up to
the last whole transaction. What was written is checked again by a checksum a row. Opening it takes a lock on the directory.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from holdfast.model.answers import Floats, Ints
from holdfast.model.retrieval.tombstones import is_in
from holdfast.server.store.errors import (
    InvalidChangeError,
    JournalMismatchError,
    StoreError,
)
from holdfast.server.store.journal.database import Database
from holdfast.server.store.journal.lock import StoreLock
from holdfast.server.store.journal.schema import SCHEMA_VERSION, TABLES, JournalEntry, StoredRow, check, checksum
from holdfast.server.store.records import ChangeReceipt, State

FILE = "journal.sqlite"

COLUMNS = "id, revision, label, source, state, reason, author, time, in_base, added"


@dataclass(frozen=True)
class Standing:
    """Which bundle a journal stands on.

    Attributes:
        origin: identity of the bundle that the server was started with when the store began; see `identity_of`.
        encoder: SHA-256 of the encoder that made the embeddings.
        name: of that bundle, for a person.
        class_names: of the bundle that it stands on, folded or not.
        base: name of the folder under `bundles/` that holds what was folded; "" before the first.
        folded: sequence of the latest change in it.

    """

    origin: str
    encoder: str
    name: str
    class_names: tuple[str, ...]
    base: str = ""
    folded: int = 0


@dataclass(frozen=True)
class MovedRows:
    """What a journal holds, over another bundle.

    Attributes:
        rows: exemplars.
        vectors: embeddings as float32 bytes, by id.
        ids: the id of each picture that is kept, by the id that it had.
        labels: classes that the bundle does not have, by label id.

    """

    rows: list[StoredRow]
    vectors: dict[int, bytes]
    ids: dict[int, int]
    labels: dict[int, str]


class ChangeJournal:
    """One open journal. Threads may share it; one of them writes at a time.

    Attributes:
        directory: of the store.

    """

    def __init__(self, directory: Path, database: Database, lock: StoreLock) -> None:
        self.directory, self._database, self._lock = directory, database, lock

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open the journal of a store, or begin one.

        Raises:
            StoreLockedError: another process has it.
            JournalDamagedError: it is no journal, or its pages are damaged.
            JournalMismatchError: a newer holdfast wrote it.
            StoreError: the directory cannot be written.

        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = StoreLock.take(directory)
        except OSError as error:
            raise StoreError(f"{directory} cannot be a store: {error.strerror}; choose another --store") from None
        try:
            database = Database(directory / FILE)
        except BaseException:
            lock.release()
            raise
        journal = cls(directory, database, lock)
        try:
            journal._prepare()
        except BaseException:
            journal.close()
            raise
        return journal

    def _prepare(self) -> None:
        if not self._database.read("SELECT count(*) FROM sqlite_master")[0][0]:
            with self._database.transaction() as connection:
                for statement in TABLES.split(";\n"):
                    connection.execute(statement)
                connection.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
                connection.execute("INSERT INTO meta VALUES ('identity', ?)", (uuid.uuid4().hex,))
        version = int(self._database.read("SELECT value FROM meta WHERE key = 'schema'")[0][0])
        if version > SCHEMA_VERSION:
            raise JournalMismatchError(f"{self.directory} was written by a newer holdfast (schema {version}): upgrade this one")

    def close(self) -> None:
        """Let others open it."""
        self._database.close()
        self._lock.release()

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

    def stand_on(self, standing: Standing) -> None:
        """Say which bundle it stands on. Raises StoreFullError."""
        with self._database.transaction() as connection:
            connection.execute(*_standing_row(standing))

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

    def write(self, entries: Sequence[JournalEntry]) -> None:
        """Write changes, all of them or none, and return once they are durable.

        Raises:
            StoreFullError: no room; nothing was written.

        """
        with self._database.transaction() as connection:
            run = connection.executemany
            run("INSERT INTO changes VALUES (?,?,?,?,?,?,?,?,?,?,?)", [_sealed(each.values()) for each in entries])
            for entry in entries:
                labels = [_sealed((i, name, entry.sequence)) for i, name in entry.labels.items()]
                run("INSERT INTO labels VALUES (?,?,?,?)", labels)
                rows = [(*row.values(), 0, checksum(*row.values())) for row in entry.rows]
                run("INSERT OR REPLACE INTO exemplars VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", rows)
                run("INSERT OR REPLACE INTO embeddings VALUES (?,?,?)", [_sealed(pair) for pair in entry.vectors.items()])
                pictures = [_sealed((each.id, each.image, each.thumbnail)) for each in entry.images]
                run("INSERT OR REPLACE INTO images VALUES (?,?,?,?)", pictures)

    def receipt(self, author: str, request_id: str, fingerprint: bytes) -> ChangeReceipt | None:
        """Of the change that was made under this id before; None where there was none.

        Raises:
            InvalidChangeError: that was another change.

        """
        rows = self._database.read(
            "SELECT sequence, fingerprint, ids, states FROM changes WHERE author = ? AND request_id = ?", (author, request_id)
        )
        if not rows:
            return None
        found = rows[0]
        if found[1] != fingerprint:
            raise InvalidChangeError(
                f"request id {request_id!r} was used for another change: give each change an id of its own"
            )
        states = tuple(State(state) for state in json.loads(found[3]))
        return ChangeReceipt(found[0], tuple(json.loads(found[2])), states, repeated=True)

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
        where = self.directory / FILE
        found = self._database.read("SELECT id, name, revision, checksum FROM labels ORDER BY id")
        for values in found:
            check(f"label {values[0]} of {where}", values[-1], *values[:-1])
        return {values[0]: values[1] for values in found}

    def vectors(self, ids: Iterable[int]) -> dict[int, Floats]:
        """The embeddings that the journal holds of some exemplars, float32 [D], by id."""
        found = self._database.read_some("SELECT id, vector, checksum FROM embeddings", ids)
        for values in found:
            check(f"the embedding of exemplar {values[0]} of {self.directory / FILE}", values[-1], *values[:-1])
        return {values[0]: np.frombuffer(values[1], dtype=np.float32) for values in found}

    def images(self, ids: Iterable[int]) -> dict[int, tuple[bytes | None, bytes]]:
        """The pictures that were kept of some exemplars: as sent, and as PNG."""
        found = self._database.read_some("SELECT id, image, thumbnail, checksum FROM images", ids)
        for values in found:
            check(f"the image of exemplar {values[0]} of {self.directory / FILE}", values[-1], *values[:-1])
        return {values[0]: (values[1], values[2]) for values in found}

    @property
    def largest_id(self) -> int:
        """Of all exemplars that it ever had; -1 for none."""
        return int(self._database.read("SELECT coalesce(max(id), -1) FROM exemplars")[0][0])

    def fold(self, standing: Standing, in_base: Ints, sequence: int) -> None:
        """Say that changes up to a sequence are in a new base, which is durable already.

        Args:
            standing: with the new base.
            in_base: ids that are in it, int64, ascending.
            sequence: of the latest change in it. Exemplars that were changed later, or wait in quarantine, are not folded.

        Raises:
            StoreFullError: nothing has changed.

        """
        updated = []
        with self._database.transaction() as connection:
            rows = self.rows()
            based = is_in(np.array([row.id for row in rows], dtype=np.int64), in_base).tolist()
            for row in (replace(row, in_base=held) for row, held in zip(rows, based, strict=True)):
                folded = row.revision <= sequence and row.state != State.QUARANTINED
                updated.append((*row.values(), int(folded), checksum(*row.values())))
            connection.executemany("INSERT OR REPLACE INTO exemplars VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", updated)
            connection.execute("DELETE FROM embeddings WHERE id IN (SELECT id FROM exemplars WHERE folded = 1)")
            connection.execute(*_standing_row(standing))

    @contextmanager
    def moving(self, standing: Standing, moved: MovedRows, entry: JournalEntry) -> Iterator[None]:
        """Stand on another bundle, if what is done meanwhile succeeds; it reads the journal as it will be.

        Exemplars that do not come along are deleted; the audit trail keeps everything. Raises StoreFullError.
        """
        renumbered = {old: new for old, new in moved.ids.items() if old != new}
        with self._database.transaction() as connection:
            run, many = connection.execute, connection.executemany
            left = [replace(row, state=State.DELETED, in_base=False) for row in self.rows_with_folded()]
            pictures = {renumbered[old]: pair for old, pair in self.images(renumbered).items()}
            run("DELETE FROM labels")
            run("DELETE FROM embeddings")
            insert = "INSERT OR REPLACE INTO exemplars VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
            many(insert, [(*row.values(), 1, checksum(*row.values())) for row in left])
            many(insert, [(*row.values(), 0, checksum(*row.values())) for row in moved.rows])
            many("INSERT INTO embeddings VALUES (?,?,?)", [_sealed(pair) for pair in moved.vectors.items()])
            many("DELETE FROM images WHERE id = ?", [(old,) for old in renumbered])
            many("INSERT INTO images VALUES (?,?,?,?)", [_sealed((new, *pair)) for new, pair in pictures.items()])
            many("INSERT INTO labels VALUES (?,?,?,?)", [_sealed((i, n, entry.sequence)) for i, n in moved.labels.items()])
            run("INSERT INTO changes VALUES (?,?,?,?,?,?,?,?,?,?,?)", _sealed(entry.values()))
            run(*_standing_row(standing))
            yield

    def audit(self, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """Changes after a sequence: who made which, and when. None is ever deleted."""
        names = ("sequence", "time", "author", "request_id", "kind", "ids", "states", "detail")
        select = f"SELECT {', '.join(names)} FROM changes WHERE sequence > ? ORDER BY sequence LIMIT ?"  # noqa: S608
        found = [dict(zip(names, values, strict=True)) for values in self._database.read(select, [after, limit])]
        for change in found:
            change |= {name: json.loads(change[name]) for name in ("ids", "states", "detail")}
        return found

    def _row(self, values: tuple[Any, ...]) -> StoredRow:
        return StoredRow.of(values, str(self._database.path))


def _standing_row(standing: Standing) -> tuple[str, tuple[str]]:
    return "INSERT OR REPLACE INTO meta VALUES ('standing', ?)", (json.dumps(asdict(standing)),)


def _sealed(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*values, checksum(*values))
