"""The thread that makes changes durable and then serves them: many requests share one commit and one publication."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from holdfast.model.answers import Floats, Ints
from holdfast.model.retrieval.base import vectors_of
from holdfast.server.core.holder import ModelHolder
from holdfast.server.metrics.exemplars import ExemplarMetrics
from holdfast.server.store.catalogue import Catalogue
from holdfast.server.store.changes import Addition, Moment, Planned, Relabelling
from holdfast.server.store.errors import StoreError, StoreFullError
from holdfast.server.store.journal.journal import ChangeJournal
from holdfast.server.store.limits import StoreLimits, check_room
from holdfast.server.store.pipeline.tickets import Ticket
from holdfast.server.store.records import ChangeReceipt
from holdfast.server.store.served import StoreState

log = logging.getLogger(__name__)

MOST_ROWS = 4096
"""Exemplars in one commit, more or less."""


@dataclass(eq=False)
class _Group:
    """Tickets that go into one commit."""

    draft: Catalogue
    stored: int
    tickets: list[Ticket] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)


class Writer:
    """Plans, writes and publishes changes, in their order.

    Args:
        journal: of the store.
        state: of the store.
        limits: what is allowed.
        after: called after each publication and before it is acknowledged, on this thread.

    """

    def __init__(self, journal: ChangeJournal, state: StoreState, limits: StoreLimits, after: Callable[[], None]) -> None:
        self._journal, self._state, self._limits, self._after = journal, state, limits, after
        self._queue: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._put_back: deque[Ticket] = deque()
        self._thread = threading.Thread(target=self._run, name="store-write", daemon=True)
        self._holder: ModelHolder
        self._metrics: ExemplarMetrics

    def start(self, holder: ModelHolder, metrics: ExemplarMetrics) -> None:
        """Begin to write."""
        self._holder, self._metrics = holder, metrics
        self._thread.start()

    def put(self, ticket: Ticket) -> None:
        """Make a change that is prepared. Any thread may call it."""
        self._queue.put(ticket)

    def stop(self) -> None:
        """Make what waits, and end."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        going = True
        while going or self._put_back:
            tickets, going = self._take(going)
            if tickets:
                try:
                    with self._state.changing:
                        self._write(tickets)
                except Exception as error:
                    # What is durable by now is served once the server starts again; the next change has its turn.
                    log.exception("changes of exemplars could not be served")
                    for ticket in tickets:
                        ticket.fail(error)

    def _take(self, going: bool) -> tuple[list[Ticket], bool]:
        tickets = list(self._put_back)
        self._put_back.clear()
        rows = sum(ticket.rows for ticket in tickets)
        while going and rows < MOST_ROWS:
            try:
                ticket = self._queue.get(block=not tickets)
            except queue.Empty:
                break
            if ticket is None:
                return tickets, False
            tickets.append(ticket)
            rows += ticket.rows
        return tickets, going

    def _write(self, tickets: list[Ticket]) -> None:
        group = self._plan(tickets)
        if not group.planned:
            return
        started = time.monotonic()
        try:
            self._journal.write([each.entry for each in group.planned])
        except StoreFullError as error:
            if len(group.tickets) == 1:
                self._refuse(group.tickets[0], error)
            else:  # what is too large is not to take the others with it
                for ticket in group.tickets:
                    self._write([ticket])
            return
        except StoreError as error:
            for ticket in group.tickets:
                self._refuse(ticket, error)
            return
        durable = time.monotonic()
        self._metrics.commit_seconds.observe(durable - started)
        self._publish(group)
        self._metrics.publish_seconds.observe(time.monotonic() - durable)

    def _plan(self, tickets: list[Ticket]) -> _Group:
        seen: set[tuple[str, str]] = set()
        group = _Group(self._state.known.draft(), stored=self._journal.disk_bytes)
        for ticket in tickets:
            if ticket.key in seen:  # the same request twice: the second finds the receipt of the first
                self._put_back.append(ticket)
                continue
            seen.add(ticket.key)
            try:
                receipt = self._journal.receipt(*ticket.key, ticket.fingerprint)
                if receipt is not None:
                    ticket.succeed(receipt)
                else:
                    self._plan_one(ticket, group)
            except StoreError as error:
                self._refuse(ticket, error)
            except Exception as error:
                log.exception("a change of exemplars could not be planned")
                ticket.fail(error)
        return group

    def _plan_one(self, ticket: Ticket, group: _Group) -> None:
        sequence = self._state.served.sequence + 1 + len(group.planned)
        moment = Moment(sequence, time.time(), ticket.author, ticket.request_id, ticket.fingerprint)
        trial = group.draft.draft()
        assert ticket.change is not None  # noqa: S101 - prepared
        planned = ticket.change.plan(trial, moment, self._vectors)
        stored = group.stored + planned.entry.size
        if isinstance(ticket.change, Addition | Relabelling):
            check_room(self._limits, trial.size, len(trial.class_names), stored)
        group.draft.keep(trial)
        group.stored = stored
        group.tickets.append(ticket)
        group.planned.append(planned)

    def _publish(self, group: _Group) -> None:
        state = self._state
        state.known.keep(group.draft)
        state.served = state.served.after(group.planned, state.known.class_names)
        self._holder.publish_next(state.served.placed_in)
        for planned in group.planned:
            self._metrics.changes.labels(planned.entry.kind).inc()
        self._after()
        for ticket, planned in zip(group.tickets, group.planned, strict=True):
            entry = planned.entry
            ticket.succeed(ChangeReceipt(entry.sequence, entry.ids, entry.states))

    def _refuse(self, ticket: Ticket, error: StoreError) -> None:
        self._metrics.refused.labels(type(error).__name__).inc()
        ticket.fail(error)

    def _vectors(self, ids: Ints) -> Floats:
        """The journal's, and of exemplars that only the index has, the index's."""
        kept = self._journal.vectors(ids.tolist())
        missing = np.array([each for each in ids.tolist() if each not in kept], dtype=np.int64)
        if len(missing):
            kept |= dict(zip(missing.tolist(), vectors_of(self._state.served.index, missing), strict=True))
        return np.stack([kept[each] for each in ids.tolist()])
