"""Shows traffic to all detectors, on a thread of low priority, and switches off what fails."""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from holdfast.server.alarms.alarm import EVERYBODY
from holdfast.server.core.observers import BackgroundObserver, ObservedBatch, ObserverContext
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.monitor.detectors.callers import CallerNumbers
from holdfast.server.monitor.detectors.detector import ALL, MakeDetector, TrafficDetector
from holdfast.server.monitor.detectors.making import MadeDetectors, References, make_detectors
from holdfast.server.monitor.detectors.table import DETECTORS
from holdfast.server.monitor.detectors.traffic import ObservedTraffic
from holdfast.server.monitor.probes.priority import lower_thread_priority
from holdfast.server.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from holdfast.server.core.description import ModelDescription

log = logging.getLogger(__name__)

AT_ONCE = 256
"""Images."""

EVERY_S = 0.5
"""Seconds between two looks at what was answered."""


REFERENCES = References()
"""Of the bundle that this process serves."""


class TrafficDetectors(BackgroundObserver):
    """All detectors of one engine. They are made anew, and know nothing of before, once another bundle answers.

    Args:
        context: of the engine.
        table: what to make, by name.

    Raises:
        ConfigurationError: a detector that is to be left out does not exist.

    """

    name = "detectors"
    every = EVERY_S

    def __init__(self, context: ObserverContext, table: Mapping[str, MakeDetector] = DETECTORS) -> None:
        super().__init__(context.settings.detector_queue, context.metrics)
        self._settings, self._actions = context.settings, context.alarms
        self._table = _wanted(table, context.settings)
        self._numbers = CallerNumbers(context.settings.detector_callers, named=context.settings.alarm_names)
        self._model: ModelDescription | None = None  # and not the model, whose memory is given back once another is served
        self._made: MadeDetectors
        self._detectors: list[TrafficDetector] = []
        self._gathered: list[ObservedBatch] = []
        self._images = 0  # of those

    @classmethod
    def make(cls, context: ObserverContext) -> "TrafficDetectors | None":
        """All that there are, where the operator wants any."""
        return cls(context) if context.settings.detectors else None

    def start(self) -> None:
        """Begin, and let alarms be sent."""
        self._actions.start()
        super().start()

    def stop(self) -> None:
        """End, and send nothing more."""
        super().stop()
        self._actions.stop()

    def prepare(self) -> None:
        """Give way to all other threads."""
        lower_thread_priority()

    def copy(self, batch: ObservedBatch, rows: NDArray[np.intp]) -> ObservedBatch:
        """Answers are made for each batch, and nobody changes them: only images are copied."""
        if len(rows) < len(batch):
            return batch.take(rows)
        return ObservedBatch(batch.snapshot, batch.images.copy(), batch.answers, batch.callers)

    def work(self, batch: ObservedBatch) -> None:
        """Gather batches until there are enough images: looking at one costs several times as much as at one of many."""
        if self._gathered and self._gathered[0].snapshot is not batch.snapshot:
            self.rest()
        self._gathered.append(batch)
        self._images += len(batch)
        if self._images >= AT_ONCE:
            self.rest()

    def rest(self) -> None:
        """Look at what was gathered."""
        gathered, self._gathered, self._images = self._gathered, [], 0
        if gathered:
            self._look_at(gathered)

    def _look_at(self, batches: list[ObservedBatch]) -> None:
        begun = time.thread_time()
        self._follow(batches[0].snapshot)
        forgotten = self._numbers.forgotten
        callers, taken_over = self._numbers.numbers([caller for batch in batches for caller in batch.callers])
        for caller in taken_over:
            self._made.near.forget(caller)
        images, answers = [batch.images for batch in batches], [batch.answers for batch in batches]
        traffic = ObservedTraffic.of(time.monotonic(), images, answers, callers)
        for detector in tuple(self._detectors):
            try:
                for caller in taken_over:
                    detector.forget(caller)
                detector.look(traffic)
            except Exception:
                log.exception("the detector %s failed, and is off until another bundle is served", detector.name)
                self._detectors.remove(detector)  # the others go on, and so do answers
                self._actions.metrics.switched_off(detector.name)
        metrics = self._actions.metrics
        metrics.forgot(self._numbers.forgotten - forgotten)
        metrics.worked(len(traffic), time.thread_time() - begun)

    def _follow(self, model: ModelSnapshot) -> None:
        """Make all detectors, unless they are for the bundle of this model already."""
        before, self._model = self._model, model.description
        if before is not None and (before is model.description or model.description.is_of_bundle_of(before)):
            return
        made = self._made = make_detectors(
            self._table,
            model,
            REFERENCES.of(model),
            self._numbers,
            settings=self._settings,
            metrics=self._actions.metrics,
            alarm=self._alarm,
        )
        self._detectors = [detector for detector in made.by_name.values() if detector is not None]
        self._actions.metrics.switched_on(self._table)
        if left_out := [name for name, detector in made.by_name.items() if detector is None]:
            log.info("this bundle has no held-out images, which detectors need: %s are off", ", ".join(left_out))

    def _alarm(self, detector: str, caller: int, score: float, threshold: float, by_similarity: bool) -> None:
        key, name = (EVERYBODY, EVERYBODY) if caller == ALL else (self._numbers.key(caller), self._numbers.name(caller))
        self._actions.raised(detector, name, score, threshold, key=key, by_similarity=by_similarity)


def _wanted(table: Mapping[str, MakeDetector], settings: Settings) -> dict[str, MakeDetector]:
    if unknown := set(settings.detectors_off) - set(table) - set(DETECTORS):
        raise ConfigurationError(f"detectors_off: there is no {', '.join(sorted(unknown))}, but {', '.join(table)}")
    return {name: make for name, make in table.items() if name not in settings.detectors_off}
