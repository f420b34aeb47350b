"""Changes of a store are written to an index that other servers search, after they are acknowledged here.

This server answers from its own journal at once. The others see a change when it is mirrored, and a new class when they have
asked for the shared state. An index that does not answer delays that and loses nothing: the journal has what is to be mirrored.
"""

import logging
import threading
from collections.abc import Callable, Sequence

import numpy as np

from holdfast.errors import HoldfastError, RetrieverUnavailableError
from holdfast.model.retrieval.base import Bank, Retriever, vectors_of
from holdfast.model.retrieval.shared import SharedRetriever, SharedState
from holdfast.server.store.errors import StoreLockedError
from holdfast.server.store.journal.journal import ChangeJournal
from holdfast.server.store.journal.schema import StoredRow
from holdfast.server.store.records import State

log = logging.getLogger(__name__)

RETRY_EVERY_S = 1.0
ROWS_AT_ONCE = 2_000


def take_writing(index: SharedRetriever, identity: str) -> SharedState:
    """Become the one writer of a shared index. Returns what is recorded with it.

    Raises:
        StoreLockedError: another store writes to it.
        RetrieverUnavailableError: it does not answer.

    """
    state = index.read_state()
    if state.writer not in {"", identity}:
        raise StoreLockedError(
            f"another store writes to {index}, and only one may: change exemplars there, and leave --store away here; or move"
            " the directory of that store here, and let this server take it over"
        )
    taken = SharedState(identity, state.sequence, state.class_names, state.rows)
    if not state.writer:
        index.write_state(taken)
    return taken


def mirror_of(index: Retriever, journal: ChangeJournal, current: Callable[[], tuple[tuple[str, ...], int]]) -> "Mirror | None":
    """Of the store that becomes the writer of an index; None where the index is not shared. Raises as `take_writing`."""
    if not isinstance(index, SharedRetriever):
        return None
    return Mirror(index, journal, take_writing(index, journal.identity), current)


class Mirror:
    """Writes what the journal has and a shared index has not, on a thread of its own.

    Args:
        index: of all rows.
        journal: of the store.
        state: as `take_writing` found it.
        current: gives class names and the number of exemplars as they are served here.

    """

    def __init__(
        self,
        index: SharedRetriever,
        journal: ChangeJournal,
        state: SharedState,
        current: Callable[[], tuple[tuple[str, ...], int]],
    ) -> None:
        self._index, self._journal, self._state, self._current = index, journal, state, current
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-mirror", daemon=True)

    @property
    def sequence(self) -> int:
        """Of the latest change that other servers may see."""
        return self._state.sequence

    def start(self) -> None:
        """Begin with what was left undone."""
        self._thread.start()
        self.notify()

    def notify(self) -> None:
        """There is a change. Any thread may call it."""
        self._wake.set()

    def stop(self) -> None:
        """End; what is not mirrored will be after the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                while self._mirror_some():
                    if self._stopping.is_set():
                        return
            except RetrieverUnavailableError:  # the index has logged it
                self._retry()
            except HoldfastError:
                log.exception("changes could not be written to the shared index; they are in the journal, and tried again")
                self._retry()

    def _retry(self) -> None:
        self._stopping.wait(RETRY_EVERY_S)
        self._wake.set()

    def _mirror_some(self) -> bool:
        """Write the oldest changes that are not there. Returns whether there were any."""
        rows = sorted(self._journal.rows_since(self._state.sequence), key=lambda row: row.revision)
        class_names, size = self._current()
        if not rows:
            # A change is durable, and mirrored, a moment before it is served and counted.
            if (class_names, size) != (self._state.class_names, self._state.rows):
                self._record(self._state.sequence, class_names, size)
            return False
        # Whole changes: rows of one have one revision.
        last = rows[min(ROWS_AT_ONCE, len(rows)) - 1].revision
        part = [row for row in rows if row.revision <= last]
        if class_names != self._state.class_names:  # before the first row of a new class
            self._record(self._state.sequence, class_names, self._state.rows)
        served = [row for row in part if row.state == State.SERVED]
        gone = np.array([row.id for row in part if row.state != State.SERVED], dtype=np.int64)
        self._index.write(self._bank(served), gone)
        self._record(last, class_names, size if last == rows[-1].revision else self._state.rows)
        return True

    def _record(self, sequence: int, class_names: tuple[str, ...], rows: int) -> None:
        state = SharedState(self._state.writer, sequence, class_names, rows)
        self._index.write_state(state)
        self._state = state

    def _bank(self, rows: Sequence[StoredRow]) -> Bank:
        ids = [row.id for row in rows]
        vectors = self._journal.vectors(ids)
        # A row of the bundle that was relabelled: the index has its embedding, and the journal its new label.
        missing = np.array([each for each in ids if each not in vectors], dtype=np.int64)
        if len(missing):
            vectors |= dict(zip(missing.tolist(), vectors_of(self._index, missing), strict=True))
        stacked = np.stack([vectors[each] for each in ids]) if ids else np.empty((0, self._index.dim), dtype=np.float32)
        return Bank(stacked, np.array(ids, dtype=np.int64), np.array([row.label for row in rows], dtype=np.int64))
