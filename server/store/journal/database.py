"""One SQLite file: opened, read, and changed in transactions, with holdfast's own errors."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from holdfast.server.store.errors import JournalDamagedError, StoreError, StoreFullError

CHUNK = 500
"""Ids in one query; SQLite takes a thousand."""


class Database:
    """A connection that threads may share. A commit has reached the disk when it returns.

    Raises JournalDamagedError where the file is no database or its pages are damaged, and StoreFullError where the disk takes
    nothing.

    Args:
        path: of the file.
        journal_mode: WAL, or DELETE for a file that is whole, and alone, after each commit.

    """

    def __init__(self, path: Path, *, journal_mode: Literal["WAL", "DELETE"] = "WAL") -> None:
        self.path = path
        self._using = threading.RLock()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        except sqlite3.Error as error:
            raise self._translated(error) from None
        try:
            # The store's lock keeps other processes out. Without a file that they share, a store opens on a full disk too.
            self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._connection.execute(f"PRAGMA journal_mode={journal_mode}")
            self._connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error as error:
            self._connection.close()
            raise self._translated(error) from None

    def close(self) -> None:
        """Close the file."""
        with self._using:
            self._connection.close()

    def read(self, select: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query. Raises JournalDamagedError."""
        try:
            with self._using:
                return self._connection.execute(select, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._translated(error) from None

    def read_some(self, select: str, ids: Iterable[int]) -> list[tuple[Any, ...]]:
        """The rows of some ids, in any order. Raises JournalDamagedError."""
        wanted = list(ids)
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(wanted), CHUNK):
            part = wanted[start : start + CHUNK]
            found += self.read(f"{select} WHERE id IN ({','.join('?' * len(part))})", part)
        return found

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of what is done in it, or nothing.

        Raises:
            StoreFullError: no room for it.
            JournalDamagedError: pages are damaged.

        """
        with self._using:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                self._roll_back()
                raise self._translated(error) from None
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _translated(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # which only errors of SQLite itself have
        if code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR) and code != sqlite3.SQLITE_IOERR_SHORT_READ:
            return StoreFullError(
                f"{self.path.parent} takes no change ({error}), for its disk is full or fails: make room, then try again"
            )
        return JournalDamagedError(
            f"{self.path} cannot be used: {error}. Put a copy of the store in its place, or begin another --store"
        )
