"""What runs the model: the batcher that feeds it, and the observers of its answers."""

import logging
from collections.abc import Callable, Sequence

from holdfast.server.alarms.actions import AlarmActions
from holdfast.server.alarms.metrics import AlarmMetrics
from holdfast.server.alarms.throttle import CallerThrottle
from holdfast.server.core.batching import Batcher, Limits
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.observers import MakeObserver, ObserverContext, Observers
from holdfast.server.core.scheduling.admission import AdmissionLimits
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.settings import Settings

log = logging.getLogger(__name__)

FINISHERS = 2
"""Threads that decide, where a device retrieves."""


class Engine:
    """The only part of the server that runs the encoder and searches the index.

    Raises HoldfastError where the model will not do for an observer.

    Attributes:
        batcher: what feeds the model.
        alarms: of the detectors; `alarms.log.recent()` are the latest.

    """

    def __init__(self, settings: Settings, holder: ModelHolder, metrics: Metrics, observers: Sequence[MakeObserver]) -> None:
        weights = CallerThrottle(weight_of(settings), settings.alarm_throttle, settings.alarm_throttle_seconds)
        limits = Limits(settings.max_batch, settings.max_wait, AdmissionLimits.of(settings), settings.short_batch, weights)
        self.alarms = AlarmActions(settings, AlarmMetrics(metrics.registry), weights)
        self._observers = Observers(metrics)
        self.batcher = batcher_of(holder, limits, metrics, self._observers)
        context = ObserverContext(settings, holder, metrics, self.batcher.idle, self.alarms)
        for make in observers:
            if (observer := make(context)) is not None:
                self._observers.add(observer)
        holder.subscribe(lambda snapshot: metrics.serves(snapshot.description))
        metrics.serves(holder.current.description)

    def start(self) -> None:
        """Start to answer. To be called on the event loop that will submit."""
        self._observers.start()
        self.batcher.start()

    def stop(self) -> bool:
        """Finish what is queued, and end all threads. Returns whether they have ended."""
        ended = self.batcher.stop()
        self._observers.stop()
        if not ended:
            log.error("the model hangs, and is left to itself")
        return ended


def weight_of(settings: Settings) -> Callable[[str], float]:
    """The weight of a caller, by its key."""
    weights = settings.caller_weights
    return lambda key: weights.get(key, 1.0)


def batcher_of(holder: ModelHolder, limits: Limits, metrics: Metrics, observers: Observers | None = None) -> Batcher:
    """What feeds the current model, not yet started.

    On the CPU a batch is answered by one thread: a second one would only compete with it. A device stands still while the CPU
    counts votes, unless other threads do that: it takes 10 to 25 us an image, for 200 to 1,000 neighbours, which is about what
    a large GPU needs for a small encoder.
    """
    finishers = 0 if holder.current.description.placement.device == "cpu" else FINISHERS
    return Batcher(lambda: holder.current, limits, metrics, observers or Observers(metrics), finishers=finishers)
