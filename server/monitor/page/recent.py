"""The figures of the latest answers, for the live page."""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats, Ints
from holdfast.server.core.observers import ObservedBatch, Observer

KEPT = 2048
"""Answers whose figures are kept: 50 kB."""


@dataclass(frozen=True, slots=True)
class AnswerFigures:
    """The latest n answers of the served bundle, in no order. None of their images, embeddings or callers.

    Attributes:
        labels: int64 [n].
        soft_margin: float32 [n], nats; NaN where the index has none.
        credibility: float64 [n] in (0, 1]; NaN where the bundle is not calibrated.
        abstain: bool [n].

    """

    labels: Ints
    soft_margin: Floats
    credibility: NDArray[np.float64]
    abstain: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def abstained(self) -> float:
        """The share that abstained, in [0, 1]; NaN of no answers."""
        return float(self.abstain.mean()) if len(self) else float("nan")


_TYPES: dict[str, Any] = {"labels": np.int64, "soft_margin": np.float32, "credibility": np.float64, "abstain": np.bool_}


class LiveView(Observer):
    """Keeps the figures of the latest answers of the served bundle, for microseconds a batch. Any thread may ask for them.

    Args:
        kept: answers.

    """

    name = "live-view"

    def __init__(self, kept: int = KEPT) -> None:
        self._kept, self._lock = kept, threading.Lock()
        self._columns = {name: np.zeros(kept, dtype) for name, dtype in _TYPES.items()}
        self._of, self._seen = "", 0

    def observe(self, batch: ObservedBatch) -> None:
        """Copy the figures of a batch; none while somebody asks for them: that is not worth waiting for."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            of = batch.snapshot.description.bundle_version
            if of != self._of:
                self._of, self._seen = of, 0
            count = min(len(batch), self._kept)
            place = self._seen % self._kept
            first = min(count, self._kept - place)
            for name, column in self._columns.items():
                values = getattr(batch.answers, name)[:count]
                column[place : place + first] = values[:first]
                column[: count - first] = values[first:]
            self._seen += count
        finally:
            self._lock.release()

    def figures(self, bundle_version: str) -> AnswerFigures:
        """Of the answers of that bundle; none where another one answers."""
        with self._lock:
            count = min(self._seen, self._kept) if self._of == bundle_version else 0
            return AnswerFigures(**{name: column[:count].copy() for name, column in self._columns.items()})
