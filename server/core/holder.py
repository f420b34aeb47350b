"""Which model is served now. Only the holder knows."""

import logging
import threading
from collections.abc import Callable

from holdfast.errors import ContractMismatchError, HoldfastError
from holdfast.server.core.snapshot import ModelSnapshot

log = logging.getLogger(__name__)

Check = Callable[[ModelSnapshot], None]
"""Raises HoldfastError for a snapshot that this server cannot serve."""

Subscriber = Callable[[ModelSnapshot], None]
"""Is called with each snapshot that becomes current, on the thread that published it."""


class PublishError(HoldfastError):
    """A snapshot that cannot take the place of the current one."""


class ModelHolder:
    """Owns the current snapshot. Any thread may read it or publish the next.

    A batch that has begun, and a call of which a part is in a batch, are answered by the snapshot that they began with.
    """

    def __init__(self, first: ModelSnapshot) -> None:
        self._current = first
        self._publishing = threading.Lock()  # one at a time; a check may take seconds
        self._checks: list[Check] = []
        self._subscribing = threading.Lock()
        self._subscribers: dict[object, Subscriber] = {}

    @property
    def current(self) -> ModelSnapshot:
        """The snapshot that new batches are answered with."""
        return self._current

    def publish(self, snapshot: ModelSnapshot) -> None:
        """Let the snapshot answer every batch that is formed from now on.

        Raises:
            ContractMismatchError: it takes images of another form. Those that wait in the queue are decoded for the current
                one, and so are those of every worker process: another form needs a restart.
            PublishError: its version is not larger than the current one's.
            HoldfastError: a check refuses it.

        The current snapshot then stays what it was.

        """
        with self._publishing:
            self._publish(snapshot)

    def publish_next(self, make: Callable[[ModelSnapshot], ModelSnapshot]) -> ModelSnapshot:
        """Publish what `make` makes of the current snapshot, under the next version number; nothing is published in between.

        `make` should be quick, since nobody else can publish meanwhile; its version number is overwritten. What it raises, and
        what `publish` raises, leaves the current snapshot what it was. Returns what is current now.
        """
        with self._publishing:
            snapshot = make(self._current).numbered(self._current.version + 1)
            self._publish(snapshot)
            return snapshot

    def try_out(self, snapshot: ModelSnapshot) -> None:
        """Raise what publishing the snapshot would raise, but for its number. What takes long is done here, once, and early."""
        was, now = self._current.description, snapshot.description
        if now.contract != was.contract:
            raise ContractMismatchError(
                f"{now.name} takes images of {now.contract.shape}, the server has decoded for {was.contract.shape};"
                " restart the server to serve it"
            )
        for check in list(self._checks):
            check(snapshot)

    def _publish(self, snapshot: ModelSnapshot) -> None:
        was, now = self._current.description, snapshot.description
        if now.version <= was.version:
            raise PublishError(f"version {now.version} cannot follow version {was.version}; give it a larger number")
        self.try_out(snapshot)
        with self._subscribing:
            self._current = snapshot
            subscribers = list(self._subscribers.values())
        level = logging.DEBUG if now.is_of_bundle_of(was) else logging.INFO  # exemplars may change many times a second
        log.log(level, "version %d is served now: %s, %d classes", now.version, now.name, len(now.class_names))
        for subscriber in subscribers:
            try:
                subscriber(snapshot)
            except Exception:  # the others still have to be called
                log.exception("a subscriber failed on version %d", now.version)

    def require(self, check: Check) -> None:
        """Let `check` look at the current snapshot now, and at each before it is published. Raises what it raises."""
        with self._publishing:
            check(self._current)
            self._checks.append(check)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call it with each snapshot that is published from now on. Returns what ends that."""
        key = object()
        with self._subscribing:
            self._subscribers[key] = subscriber
        return lambda: self._end(key)

    def _end(self, key: object) -> None:
        with self._subscribing:
            self._subscribers.pop(key, None)
