"""A sample of recent answers, for judging what new exemplars would change."""

import threading
from collections import deque
from dataclasses import fields

import numpy as np

from holdfast.model.answers import Answers, Neighbours
from holdfast.server.core.observers import ObservedBatch, Observer

KEPT = 512
"""Answers: with 1,000 neighbours each, 10 MB."""

MOST_OF_A_BATCH = 8
"""Answers taken of one batch, so that a single large call does not fill the sample, and a batch costs microseconds."""


class RecentAnswers(Observer):
    """Keeps the latest answers of the served bundle. Any thread may ask for the sample."""

    name = "recent-answers"

    def __init__(self, kept: int = KEPT) -> None:
        self._answers: deque[Answers] = deque(maxlen=kept)
        self._lock, self._bundle = threading.Lock(), ""

    def observe(self, batch: ObservedBatch) -> None:
        """Copy a few answers of a batch."""
        count, bundle = len(batch), batch.snapshot.description.bundle_version
        rows = range(0, count, -(-count // MOST_OF_A_BATCH))
        taken = [_row(batch.answers, row) for row in rows]
        with self._lock:
            if bundle != self._bundle:  # of another encoder
                self._answers.clear()
                self._bundle = bundle
            self._answers.extend(taken)

    def sample(self) -> Answers | None:
        """What is kept, the oldest first; None where there is nothing. Probabilities are left out: [N, 0]."""
        with self._lock:
            rows = list(self._answers)
        return _joined(rows) if rows else None


def _row(answers: Answers, row: int) -> Answers:
    part = slice(row, row + 1)
    near = answers.neighbours
    neighbours = Neighbours(near.ids[part].copy(), near.labels[part].copy(), near.similarities[part].copy())
    columns = {f.name: getattr(answers, f.name)[part].copy() for f in fields(answers) if f.name not in _OTHERWISE}
    return Answers(neighbours=neighbours, probabilities=np.zeros((1, 0), np.float32), **columns)


def _joined(rows: list[Answers]) -> Answers:
    near = [row.neighbours for row in rows]
    neighbours = Neighbours(*(np.concatenate([getattr(n, f.name) for n in near]) for f in fields(Neighbours)))
    columns = {f.name: np.concatenate([getattr(r, f.name) for r in rows]) for f in fields(Answers) if f.name not in _OTHERWISE}
    return Answers(neighbours=neighbours, probabilities=np.zeros((len(rows), 0), np.float32), **columns)


_OTHERWISE = {"neighbours", "probabilities"}
