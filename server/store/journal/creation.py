"""A store's directory before its journal is opened: what may become a store, what was one, and how one begins."""

import uuid
from pathlib import Path

from holdfast.files import sync
from holdfast.server.store.errors import JournalDamagedError, StoreError
from holdfast.server.store.journal.database import Database
from holdfast.server.store.journal.lock import LOCK
from holdfast.server.store.journal.schema import SCHEMA_VERSION, TABLES

FILE, BUNDLES = "journal.sqlite", "bundles"
"""Of the journal, and of the folder of what was folded."""

PARTIAL = f".{FILE}.partial"
NOBODYS = "lost+found"
"""What a new file system has in its root, where a volume is mounted as a store. Hidden names are nobody's too: snapshots."""


def check_directory(directory: Path) -> None:
    """Refuse a directory that is no store and may not become one. Nothing is written.

    Raises:
        JournalDamagedError: it was a store, and its journal is empty or gone.
        StoreError: other files lie in it, or it cannot be read.

    """
    journal = directory / FILE
    try:
        if not directory.exists():
            return
        names = {each.name for each in directory.iterdir()}
        if FILE in names and journal.stat().st_size:
            return
        folded = BUNDLES in names and any((directory / BUNDLES).iterdir())
    except OSError as error:
        raise StoreError(f"{directory} cannot be a store: {error.strerror}; choose another --store") from None
    ours = {FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal"}
    others = sorted(name for name in names - ours - {LOCK, BUNDLES, NOBODYS} if not name.startswith("."))
    if others and FILE not in names:
        raise StoreError(
            f"{directory} is no store, and is not empty: {others[0]!r} is in it; choose a directory of its own as --store"
        )
    if folded or names & ours:
        fault = "is empty" if FILE in names else "is missing"
        raise JournalDamagedError(
            f"{journal} {fault}, though this store was in use: put a copy of the store in its place, or begin another --store"
        )


def begin_journal(directory: Path) -> None:
    """Make the journal of a new store where there is none. It appears by a rename, with its tables.

    So one without tables was damaged later, and creation that is killed leaves none. Belongs to who has the store's lock.

    Raises:
        StoreFullError: the disk does not take it.
        OSError: the directory does not.

    """
    if (directory / FILE).exists():
        return
    aside = directory / PARTIAL
    for leftover in directory.glob(f"{PARTIAL}*"):
        leftover.unlink()
    database = Database(aside, journal_mode="DELETE")
    try:
        with database.transaction() as connection:
            for statement in TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
            connection.execute("INSERT INTO meta VALUES ('identity', ?)", (uuid.uuid4().hex,))
    finally:
        database.close()
    aside.rename(directory / FILE)
    sync(directory)
