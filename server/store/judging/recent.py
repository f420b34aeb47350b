"""A sample of recent answers, for judging what new exemplars would change."""

import threading
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Answers, Neighbours
from holdfast.server.core.observers import ObservedBatch, Observer

Column = NDArray[Any]

KEPT = 256
"""Answers: with 1,000 neighbours each, 5 MB."""

MOST_OF_A_BATCH = 8
"""Answers taken of one batch, so that a single large call does not fill the sample, and a batch costs microseconds."""


class RecentAnswers(Observer):
    """Keeps the latest answers of the served bundle. Any thread may ask for the sample."""

    name = "recent-answers"

    def __init__(self, kept: int = KEPT) -> None:
        self._kept, self._lock = kept, threading.Lock()
        self._of: tuple[str, int] = ("", 0)
        self._columns: dict[str, Column] = {}  # of `kept` rows each, one written over after the other
        self._seen = 0

    def observe(self, batch: ObservedBatch) -> None:
        """Copy a few answers of a batch; none while somebody asks for the sample: that is not worth waiting for."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            columns = _columns_of(batch.answers)
            of = batch.snapshot.description.bundle_version, batch.answers.neighbours.ids.shape[1]
            if of != self._of:  # of another encoder, or of another vote
                self._of, self._seen = of, 0
                self._columns = {name: np.empty((self._kept, *each.shape[1:]), each.dtype) for name, each in columns.items()}
            rows = np.arange(0, len(batch), -(-len(batch) // MOST_OF_A_BATCH))[-self._kept :]
            places = (self._seen + np.arange(len(rows))) % self._kept
            for name, each in columns.items():
                self._columns[name][places] = each[rows]
            self._seen += len(rows)
        finally:
            self._lock.release()

    def sample(self) -> Answers | None:
        """What is kept, the oldest first; None where there is nothing. Probabilities are left out: [N, 0]."""
        with self._lock:
            if not self._seen:
                return None
            # Whole arrays are copied, which others need not wait for: a loop over rows would hold the interpreter's lock.
            oldest = max(0, self._seen - self._kept) % self._kept
            count = min(self._seen, self._kept)
            kept = {name: np.roll(each[:count], -oldest, axis=0) for name, each in self._columns.items()}
        columns = {name: kept[name] for name in _OF_ANSWERS}
        return Answers(
            neighbours=Neighbours(*(kept[f"neighbours.{name}"] for name in _OF_NEIGHBOURS)),
            probabilities=np.zeros((count, 0), np.float32),
            **columns,
        )


def _columns_of(answers: Answers) -> dict[str, Column]:
    near = answers.neighbours
    columns = {name: getattr(answers, name) for name in _OF_ANSWERS}
    return columns | {f"neighbours.{name}": getattr(near, name) for name in _OF_NEIGHBOURS}


_OF_NEIGHBOURS = tuple(field.name for field in fields(Neighbours))
_OF_ANSWERS = tuple(field.name for field in fields(Answers) if field.name not in {"neighbours", "probabilities"})
