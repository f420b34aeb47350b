"""Detectors without a server around them: they are shown traffic directly, so that millions of images take minutes."""

import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.detectors.benign import BenignTraffic
from holdfast.model.answers import Answers, Neighbours
from holdfast.model.preprocess import Pixels
from holdfast.server.alarms.actions import AlarmActions
from holdfast.server.alarms.metrics import AlarmMetrics
from holdfast.server.alarms.throttle import CallerThrottle
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.observers import ObservedBatch, ObserverContext
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.monitor.detectors.observer import TrafficDetectors
from holdfast.server.settings import Settings

AT_ONCE = 32


class CountedReasons(AlarmActions):
    """Counts reasons for alarms: an alarm that goes on for a thousand images is one alarm and a thousand reasons."""

    reasons: Counter[str]
    who: set[tuple[str, str]]

    def raised(self, detector: str, caller: str, *_: Any, **__: Any) -> None:
        """Count it, and nothing else."""
        self.reasons[detector] += 1
        self.who.add((detector, caller))


class Replay:
    """All detectors of a server, fresh, on this thread."""

    def __init__(self, snapshot: ModelSnapshot, settings: Settings) -> None:
        self._snapshot, metrics = snapshot, Metrics()
        self.actions = CountedReasons(settings, AlarmMetrics(metrics.registry), CallerThrottle(lambda _: 1.0, 0.0, 1.0))
        self.actions.reasons, self.actions.who = Counter(), set()
        context = ObserverContext(settings, ModelHolder(snapshot), metrics, lambda: True, self.actions)
        self._detectors = TrafficDetectors(context)

    def show(self, images: Pixels, answers: Answers, callers: Sequence[str]) -> None:
        """N images with their answers, some at a time."""
        for start in range(0, len(images), AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, len(images)))
            names = [callers[row] for row in rows.tolist()]
            self._detectors.work(ObservedBatch(self._snapshot, images[rows], rows_of(answers, rows), names))
        self._detectors.rest()


def rows_of(answers: Answers, rows: NDArray[np.intp]) -> Answers:
    """Some rows, without neighbours: no detector looks at these."""
    parts = {f.name: getattr(answers, f.name) for f in fields(answers)}
    taken = {name: part[rows] for name, part in parts.items() if isinstance(part, np.ndarray)}
    return replace(answers, **taken, neighbours=nothing_near(len(rows)))


def nothing_near(count: int) -> Neighbours:
    """No neighbours of so many images."""
    nothing = np.zeros((count, 0), np.int64)
    return Neighbours(nothing, nothing, nothing.astype(np.float32))


def answered(snapshot: ModelSnapshot, images: Pixels) -> Answers:
    """What the model answers to N images, without neighbours."""
    parts = []
    for start in range(0, len(images), 64):
        part = snapshot.classifier.classify(images[start : start + 64])
        parts.append(rows_of(part, np.arange(len(part.labels))))
    columns = {}
    for each in fields(parts[0]):
        column = getattr(parts[0], each.name)
        if isinstance(column, np.ndarray):
            columns[each.name] = np.concatenate([getattr(part, each.name) for part in parts])
    return replace(parts[0], **columns, neighbours=nothing_near(len(images)))


@dataclass(frozen=True)
class FalseAlarms:
    """Of one kind of benign traffic.

    Attributes:
        traffic: its name.
        images: that were shown, repeats included.
        different: of these, different ones.
        reasons: by detector, how often there was a reason for an alarm.
        alarmed: by detector, how many alarms that is: one for each caller of each repeat.
        callers: of all repeats.
        right: likewise, alarms that are none of `alarmed`, because what they say is true of this traffic.

    """

    traffic: str
    images: int
    different: int
    reasons: dict[str, int]
    alarmed: dict[str, int]
    callers: int
    right: dict[str, int] = field(default_factory=dict)

    @property
    def alarms_per_million(self) -> float:
        """Alarms for each million images."""
        return 1e6 * sum(self.alarmed.values()) / self.images


def false_alarms(
    snapshot: ModelSnapshot,
    settings: Settings,
    traffic: BenignTraffic,
    least: int,
    *,
    answer: Callable[[Pixels], Answers] | None = None,
    is_right: Callable[[str, str], bool] | None = None,
) -> FalseAlarms:
    """Shows it again and again, each time to fresh detectors, in another place of their secrets, until `least` images.

    Args:
        snapshot: the model.
        settings: of the detectors.
        traffic: that is shown.
        least: images; 1: it is shown once.
        answer: what the model answers, where it need not be asked.
        is_right: whether what a detector says of a caller is true of this traffic; "" is all callers together, and others have
            their own names where the settings say so. None: nothing is true.

    """
    answers = answered(snapshot, traffic.images) if answer is None else answer(traffic.images)
    reasons, alarmed, right = Counter[str](), Counter[str](), Counter[str]()
    shown = repeats = 0
    while shown < least or not repeats:
        replay = Replay(snapshot, settings)
        replay.show(traffic.images, answers, traffic.callers)
        reasons += replay.actions.reasons
        for detector, caller in replay.actions.who:
            (right if is_right is not None and is_right(detector, caller) else alarmed)[detector] += 1
        shown, repeats = shown + len(traffic.images), repeats + 1
    different = len({image.tobytes() for image in traffic.images})
    callers = repeats * len(set(traffic.callers))
    return FalseAlarms(traffic.name, shown, different, dict(reasons), dict(alarmed), callers, dict(right))


def bytes_per_caller(snapshot: ModelSnapshot, settings: Settings, images: Pixels, callers: int = 64) -> float:
    """Memory that one more caller takes who has asked as many different images as are kept."""
    each = settings.detector_caller_images + 4
    pixels = np.resize(images, (callers * each, *images.shape[1:]))
    answers = answered(snapshot, pixels)
    replay = Replay(snapshot, settings)
    replay.show(pixels, answers, ["caller"] * len(pixels))  # what is kept of all is full, as far as it will be
    replay.show(pixels, answers, ["caller"] * len(pixels))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    replay.show(pixels, answers, [f"caller-{n % callers}" for n in range(len(pixels))])
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / callers
