"""Whether the silent detectors would notice an attack whose candidates were asked one by one, by one caller."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from prometheus_client import CollectorRegistry

from holdfast.model.answers import Answers
from holdfast.model.preprocess import Pixels
from holdfast.server.alarms.metrics import AlarmMetrics
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.monitor.detectors.callers import CallerNumbers
from holdfast.server.monitor.detectors.making import make_detectors
from holdfast.server.monitor.detectors.observer import REFERENCES
from holdfast.server.monitor.detectors.table import DETECTORS
from holdfast.server.monitor.detectors.traffic import ObservedTraffic
from holdfast.server.monitor.page.attack import AttackStep
from holdfast.server.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchedStep:
    """A step of an attack, and of each detector the candidate at which it raised an alarm; None where it has raised none."""

    step: AttackStep
    noticed: Mapping[str, int | None]


class BenchDetectors:
    """The detectors that watch traffic, made anew for one attack, beside those of the traffic. Belongs to one thread.

    Args:
        model: that answers.
        settings: of the server: which detectors it has, and how they are set.

    """

    def __init__(self, model: ModelSnapshot, settings: Settings) -> None:
        self._step = 0
        self._noticed: dict[str, int | None] = {}
        reference = REFERENCES.known(model)
        off = set(DETECTORS) if not settings.detectors else set(settings.detectors_off)
        table = {name: make for name, make in DETECTORS.items() if name not in off}
        numbers, metrics = CallerNumbers(1), AlarmMetrics(CollectorRegistry())
        numbers.numbers(["bench"])
        made = make_detectors(table, model, reference, numbers, settings=settings, metrics=metrics, alarm=self._alarm)
        self._detectors = {name: detector for name, detector in made.by_name.items() if detector is not None}
        self._noticed = dict.fromkeys(self._detectors)

    def watch(self, clean: tuple[Pixels, Answers], attack: Iterator[AttackStep]) -> Iterator[WatchedStep]:
        """The attack's steps, as the detectors see them after the clean image uint8 [1, H, W, 3] and its answer."""
        self._look(*clean)
        for step in attack:
            self._step = step.step
            self._look(step.tried, step.tried_answers)
            yield WatchedStep(step, dict(self._noticed))

    def _look(self, images: Pixels, answers: Answers) -> None:
        traffic = ObservedTraffic.of(time.monotonic(), [images], [answers], np.zeros(1, np.intp))
        for name, detector in tuple(self._detectors.items()):
            try:
                detector.look(traffic)
            except Exception:
                log.exception("the detector %s failed at the bench, and is left out there", name)
                del self._detectors[name], self._noticed[name]

    def _alarm(self, detector: str, caller: int, score: float, threshold: float, by_similarity: bool) -> None:
        del caller, score, threshold, by_similarity
        if self._noticed.get(detector) is None:
            self._noticed[detector] = self._step
