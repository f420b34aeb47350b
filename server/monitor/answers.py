"""What answers are like, as metrics."""

from holdfast.server.core.observers import ObservedBatch, Observer, ObserverContext
from holdfast.server.metrics.metrics import Metrics


class AnswerMetrics(Observer):
    """Counts every answer. It takes microseconds a batch, so it needs no thread, and sheds nothing."""

    name = "answer-metrics"

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    @classmethod
    def make(cls, context: ObserverContext) -> "AnswerMetrics":
        """Always on."""
        return cls(context.metrics)

    def observe(self, batch: ObservedBatch) -> None:
        """Soft margin, distance of the k-th neighbour, credibility and abstention of each image."""
        self._metrics.answered(batch.answers)
