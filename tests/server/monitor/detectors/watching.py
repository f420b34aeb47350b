"""Detectors that are shown traffic, and images to show: pictures, films of them, and the steps of a search."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import generate_latest

from holdfast.model.preprocess import Pixels
from holdfast.server.alarms.actions import AlarmActions
from holdfast.server.alarms.alarm import Alarm
from holdfast.server.alarms.metrics import AlarmMetrics
from holdfast.server.alarms.settings import AlarmSettings, DetectorSettings
from holdfast.server.alarms.throttle import CallerThrottle
from holdfast.server.core.observers import ObservedBatch, ObserverContext
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.monitor.detectors.detector import MakeDetector
from holdfast.server.monitor.detectors.observer import TrafficDetectors
from holdfast.server.monitor.detectors.table import DETECTORS
from tests.server.running import metric_of

SIDE = 32


class Watched:
    """All detectors on this thread, and what they raised. `settings` as flags of the server."""

    def __init__(self, snapshot: ModelSnapshot, table: dict[str, MakeDetector] = DETECTORS, **settings: Any) -> None:
        self.snapshot, self.metrics = snapshot, Metrics()
        alarms, detectors = AlarmSettings.model_fields, DetectorSettings.model_fields
        configured: Any = SimpleNamespace(**{k: v.default for k, v in (alarms | detectors).items()} | settings)
        self.actions = AlarmActions(configured, AlarmMetrics(self.metrics.registry), CallerThrottle(lambda key: 1.0, 0.0, 1.0))
        context = ObserverContext(configured, None, self.metrics, lambda: True, self.actions)  # type: ignore[arg-type]
        self.observer = TrafficDetectors(context, table)

    def show(
        self,
        images: Pixels,
        callers: str | list[str] = "10.0.0.7",
        labels: NDArray[np.int64] | None = None,
        margins: NDArray[np.float32] | None = None,
        distances: NDArray[np.float32] | None = None,
    ) -> None:
        """One batch, with these answers in the place of the model's where they are given."""
        answers = self.snapshot.classifier.classify(images)
        if labels is not None:
            answers = replace(answers, labels=labels)
        if margins is not None:
            answers = replace(answers, soft_margin=margins)
        if distances is not None:
            answers = replace(answers, kth_distance=distances)
        names = [callers] * len(images) if isinstance(callers, str) else callers
        self.observer.work(ObservedBatch(self.snapshot, images, answers, names))
        self.observer.rest()

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        return self.actions.log.recent()

    def raised(self, detector: str) -> list[Alarm]:
        return [alarm for alarm in self.alarms if alarm.detector == detector]

    def metric(self, name: str, **labels: str) -> float:
        return metric_of(generate_latest(self.metrics.registry).decode(), name, **labels)


def pictures(count: int, seed: int, side: int = SIDE) -> Pixels:
    """Different images with shapes and edges: uint8 [count, side, side, 3]."""
    rng = np.random.default_rng(seed)
    at = np.arange(side, dtype=np.float32)
    images = np.empty((count, side, side, 3), np.float32)
    images[:] = rng.uniform(40, 215, (count, 1, 1, 3))
    for _ in range(12):
        middles, sizes = rng.uniform(0, side, (count, 2, 1)), rng.uniform(3, side / 2, (count, 2, 1))
        falls = (((at - middles) / sizes) ** 4).astype(np.float32)
        inside = np.exp(-falls[:, 0, :, None] - falls[:, 1, None])
        images += inside[..., None] * (rng.uniform(0, 255, (count, 1, 1, 3)).astype(np.float32) - images)
    return np.clip(images, 0, 255).astype(np.uint8)


def textured(count: int, seed: int) -> Pixels:
    """The same with a grain that no two share."""
    grain = np.random.default_rng(seed).normal(0, 25, (count, SIDE, SIDE, 1))
    return np.clip(pictures(count, seed) + grain, 0, 255).astype(np.uint8)


def film(frames: int, seed: int) -> Pixels:
    """A picture that moves by up to half a pixel from one frame to the next: uint8 [frames, SIDE, SIDE, 3]."""
    rng = np.random.default_rng(seed)
    (whole,) = pictures(1, seed, 2 * SIDE).astype(float)
    place = np.cumsum(rng.uniform(-0.5, 0.5, (frames, 2)), axis=0)
    place = 2 + place - place.min(axis=0)
    place = np.minimum(place, SIDE - 2)
    return np.stack([_crop(whole, *at) for at in place])


def _crop(whole: NDArray[np.float64], top: float, left: float) -> Pixels:
    rows, columns = int(top), int(left)
    down, across = top - rows, left - columns
    part = whole[rows : rows + SIDE + 1, columns : columns + SIDE + 1]
    part = part[:-1] * (1 - down) + part[1:] * down
    part = part[:, :-1] * (1 - across) + part[:, 1:] * across
    return np.rint(part).astype(np.uint8)


def search(image: Pixels, steps: int, size: int, seed: int) -> Pixels:
    """What an attack asks about one image: it and a random direction each time, of `size` grey levels."""
    changes = np.random.default_rng(seed).choice([-size, size], (steps, *image.shape))
    return np.clip(image + changes, 0, 255).astype(np.uint8)


def of_two_minds(steps: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels and margins near a boundary: either class, by little."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, steps), rng.normal(0, 0.1, steps).astype(np.float32)
