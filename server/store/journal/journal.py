"""The journal: every change of the exemplars, durable before it is acknowledged.

SQLite in write-ahead mode with synchronous=FULL: a commit is one append to one file and one fsync, where the rollback journal
costs three or four. SQLite checks each frame of that file, so a tail that a power cut has left half written is left out, up to
the last whole transaction. What was written is checked again by a checksum a row. Opening it takes a lock on the directory.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from holdfast.files import make_directory
from holdfast.model.answers import Ints
from holdfast.model.retrieval.tombstones import is_in
from holdfast.server.store.errors import JournalMismatchError, StoreError
from holdfast.server.store.journal.creation import FILE, begin_journal, check_directory
from holdfast.server.store.journal.database import Database
from holdfast.server.store.journal.lock import StoreLock
from holdfast.server.store.journal.reading import JournalReader
from holdfast.server.store.journal.schema import SCHEMA_VERSION, JournalEntry, MovedRows, Standing, checksum
from holdfast.server.store.records import State


class ChangeJournal(JournalReader):
    """One open journal. Threads may share it; one of them writes at a time.

    Attributes:
        directory: of the store.

    """

    def __init__(self, directory: Path, database: Database, lock: StoreLock) -> None:
        super().__init__(database)
        self.directory, self._lock = directory, lock

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open the journal of a store, or begin one.

        Raises:
            StoreLockedError: another process has it.
            JournalDamagedError: it is no journal, its pages are damaged, or it is gone though the store was used.
            JournalMismatchError: a newer holdfast wrote it.
            StoreError: the directory cannot be written, or other files lie in it and it is no store.

        """
        try:
            check_directory(directory)
            make_directory(directory)
            lock = StoreLock.take(directory)
            try:
                begin_journal(directory)
                database = Database(directory / FILE)
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise StoreError(f"{directory} cannot be a store: {error.strerror}; choose another --store") from None
        journal = cls(directory, database, lock)
        try:
            journal._check_schema()
        except BaseException:
            journal.close()
            raise
        return journal

    def _check_schema(self) -> None:
        version = int(self._database.read("SELECT value FROM meta WHERE key = 'schema'")[0][0])
        if version > SCHEMA_VERSION:
            raise JournalMismatchError(f"{self.directory} was written by a newer holdfast (schema {version}): upgrade this one")

    def close(self) -> None:
        """Let others open it."""
        self._database.close()
        self._lock.release()

    def stand_on(self, standing: Standing) -> None:
        """Say which bundle it stands on. Raises StoreFullError."""
        with self._database.transaction() as connection:
            connection.execute(*_standing_row(standing))

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


def _standing_row(standing: Standing) -> tuple[str, tuple[str]]:
    return "INSERT OR REPLACE INTO meta VALUES ('standing', ?)", (json.dumps(asdict(standing)),)


def _sealed(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*values, checksum(*values))
