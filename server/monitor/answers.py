"""What answers are like, as metrics."""

import numpy as np

from holdfast.server.core.observers import ObservedBatch, Observer, ObserverContext
from holdfast.server.metrics.metrics import Metrics

EVERY = 128
"""Of so many answers the poison tolerance of one is told: it costs as much as half of an answer, where a thousand vote."""


class AnswerMetrics(Observer):
    """Counts every answer. It takes microseconds a batch, so it needs no thread, and sheds nothing."""

    name = "answer-metrics"

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._seen = metrics, 0

    @classmethod
    def make(cls, context: ObserverContext) -> "AnswerMetrics":
        """Always on."""
        return cls(context.metrics)

    def observe(self, batch: ObservedBatch) -> None:
        """Soft margin, distance of the k-th neighbour, credibility and abstention of each image; poison tolerance of a few."""
        self._metrics.answered(batch.answers)
        rows = np.arange(-self._seen % EVERY, len(batch), EVERY)
        self._seen += len(batch)
        if len(rows):
            self._metrics.tolerated(batch.snapshot.classifier.poison_tolerance(batch.answers, rows))
