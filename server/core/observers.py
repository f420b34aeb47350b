"""Observers look at answers after they are sent: in the engine's process, once per batch, with images and embeddings.

Only images of calls that classify are observed. Canaries and embeddings are not.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Answers, Neighbours
from holdfast.model.preprocess import Pixels
from holdfast.server.alarms.actions import AlarmActions
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.request import CallKind
from holdfast.server.core.result import AnsweredBatch
from holdfast.server.core.scheduling.queue import Piece
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.settings import Settings

log = logging.getLogger(__name__)

Columns = TypeVar("Columns", Answers, Neighbours)

STOP_TIMEOUT_S = 5.0
"""Seconds that an observer's thread gets to end."""


@dataclass(frozen=True, slots=True)
class ObservedBatch:
    """N classified images, which one batch answered.

    Attributes:
        snapshot: the model that answered.
        images: uint8 [N, H, W, C], as the encoder saw them.
        answers: of N rows, embeddings included.
        callers: N of them, who sent each image, as Request has it.

    """

    snapshot: ModelSnapshot
    images: Pixels
    answers: Answers
    callers: Sequence[str]

    def __len__(self) -> int:
        return len(self.callers)

    def take(self, rows: NDArray[np.intp]) -> "ObservedBatch":
        """A copy of some of the images, by their numbers."""
        return ObservedBatch(
            self.snapshot, self.images[rows], _rows_of(self.answers, rows), [self.callers[row] for row in rows]
        )

    def without_neighbours(self) -> "ObservedBatch":
        """The same, not copied, with no neighbours: of a vote of 1,000 they are most of what an answer takes."""
        near = self.answers.neighbours
        none = Neighbours(near.ids[:, :0], near.labels[:, :0], near.similarities[:, :0])
        return replace(self, answers=replace(self.answers, neighbours=none))


class Observer:
    """Looks at batches.

    Attributes:
        name: for metrics and the log.

    """

    name = "observer"

    def observe(self, batch: ObservedBatch) -> None:
        """Look at one batch, on the thread that answered it and after its callers have their answers.

        The next batch waits meanwhile, so this takes microseconds; what takes longer is a BackgroundObserver. Arrays may be
        looked at, not kept and not changed. What is raised is logged once and does no other harm.
        """
        raise NotImplementedError

    def start(self) -> None:
        """Begin: the server is about to take calls."""

    def stop(self) -> None:
        """End: no batch will be observed any more."""


class Failures:
    """Counts what observers raise, and logs the first of each."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._logged: set[str] = set()

    def add(self, name: str, error: Exception) -> None:
        """One observer has raised."""
        self._metrics.observer_failures.labels(name).inc()
        if name not in self._logged:
            self._logged.add(name)
            log.error("the observer %s failed; further failures are only counted", name, exc_info=error)


class BackgroundObserver(Observer):
    """An observer that may be slow: it works on copies and on a thread of its own, and sheds what it has no room for.

    Args:
        capacity: images that wait for it, at most.
        metrics: counts what is shed, and failures.

    Attributes:
        every: seconds between two looks at what has come, since waking a thread for each batch costs some CPU; fewer once
            half of its room is taken. `rest` is called after each. None: it wakes at once, and never rests.

    """

    every: float | None = None

    def __init__(self, capacity: int, metrics: Metrics) -> None:
        self._capacity, self._waiting = capacity, 0
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[ObservedBatch | None] = queue.SimpleQueue()
        self._failures = Failures(metrics)
        self._shed = metrics.observer_shed.labels(self.name)
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self.stopping, self._due = threading.Event(), threading.Event()

    def select(self, batch: ObservedBatch) -> NDArray[np.intp]:
        """The numbers of the images that it wants to look at; quick, and before anything is copied. All, by default."""
        return np.arange(len(batch))

    def copy(self, batch: ObservedBatch, rows: NDArray[np.intp]) -> ObservedBatch:
        """A copy of what was selected, as far as it is looked at. All columns, by default."""
        return batch.take(rows)

    def prepare(self) -> None:
        """Begin, on its thread."""

    def rest(self) -> None:
        """Nothing more has come for now, on its thread."""

    def work(self, batch: ObservedBatch) -> None:
        """Look at copies of what was selected of one batch, on its thread. It gives up soon once `stopping` is set."""
        raise NotImplementedError

    def observe(self, batch: ObservedBatch) -> None:
        """Queue a copy of what is selected, as far as there is room. Never blocks."""
        rows = self.select(batch)
        with self._lock:
            taken = rows[: self._capacity - self._waiting]
            self._waiting += len(taken)
            waiting = self._waiting
        if len(taken) < len(rows):
            self.shed(len(rows) - len(taken))
        if len(taken):
            self._queue.put(self.copy(batch, taken))
            if 2 * waiting >= self._capacity:
                self._due.set()

    def shed(self, images: int) -> None:
        """Count images that are not looked at."""
        self._shed.inc(images)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end, and wait for that a few seconds at most."""
        self.stopping.set()
        self._due.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        self.prepare()
        while self._work_on_next():
            pass

    def _work_on_next(self) -> bool:
        try:
            batch = self._queue.get(block=self.every is None)
        except queue.Empty:
            self._do(self.rest)
            self._due.wait(self.every)
            self._due.clear()
            return not self.stopping.is_set()
        if batch is None or self.stopping.is_set():
            return False
        with self._lock:
            self._waiting -= len(batch)
        self._do(partial(self.work, batch))
        return True

    def _do(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # noqa: BLE001 - whatever it was, answers go on
            self._failures.add(self.name, error)


@dataclass(frozen=True)
class ObserverContext:
    """What an observer is made of.

    Attributes:
        settings: of the server.
        holder: of the model.
        metrics: of the engine's process.
        idle: whether no image is under way; any thread may call it.
        alarms: what detectors find goes there.

    """

    settings: Settings
    holder: ModelHolder
    metrics: Metrics
    idle: Callable[[], bool]
    alarms: AlarmActions


MakeObserver = Callable[[ObserverContext], Observer | None]
"""Makes an observer, or none where the settings want none. Raises HoldfastError where the model will not do for it."""


class Observers:
    """All observers of one engine."""

    def __init__(self, metrics: Metrics) -> None:
        self._observers: list[Observer] = []
        self._failures = Failures(metrics)

    def add(self, observer: Observer) -> None:
        """One more. To be called before any batch."""
        self._observers.append(observer)

    def start(self) -> None:
        """Start all."""
        for observer in self._observers:
            observer.start()

    def stop(self) -> None:
        """Stop all."""
        for observer in self._observers:
            observer.stop()

    def answered(self, snapshot: ModelSnapshot, images: Pixels, pieces: Sequence[Piece], batch: AnsweredBatch) -> None:
        """Show one batch to all. Called by the thread that answered it."""
        if not self._observers:
            return
        callers: list[str] = []
        others = False
        for piece in pieces:
            call, count = piece.call, piece.count
            others = others or call.want.kind is not CallKind.CLASSIFY
            callers += [call.caller] * count if count > 1 else (call.caller,)
        observed = ObservedBatch(snapshot, images, batch.answers, callers)
        if others:
            observed = observed.take(_classified(pieces))
            if not len(observed):
                return
        for observer in self._observers:
            try:
                observer.observe(observed)
            except Exception as error:  # noqa: BLE001 - whatever it was, answers go on
                self._failures.add(observer.name, error)


def _classified(pieces: Sequence[Piece]) -> NDArray[np.intp]:
    """The numbers of the images of calls that classify."""
    return np.flatnonzero(np.repeat([p.call.want.kind is CallKind.CLASSIFY for p in pieces], [p.count for p in pieces]))


def _rows_of(columns: Columns, rows: NDArray[np.intp]) -> Columns:
    """A copy of some rows of a dataclass of arrays, whose columns may be dataclasses of arrays themselves."""
    parts: dict[str, Any] = {}
    for field in fields(columns):
        column = getattr(columns, field.name)
        parts[field.name] = column[rows] if isinstance(column, np.ndarray) else _rows_of(column, rows)
    return type(columns)(**parts)
