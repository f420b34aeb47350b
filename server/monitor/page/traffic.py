"""What the server's own metrics say of the last minute, for the live page."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite

from prometheus_client import CollectorRegistry

WINDOW_S = 60.0
"""Seconds that rates are of, where somebody has looked for that long."""

SERVICES = {"holdfast.v1.HoldfastService", "inference.GRPCInferenceService"}

CALLS, QUEUE, ENGINE = "grpc_server_handling_seconds", "holdfast_queue_wait_seconds", "holdfast_engine_seconds"
REFUSED, FAILURES, SHED = (
    "holdfast_refused_images_total",
    "holdfast_observer_failures_total",
    "holdfast_observer_shed_images_total",
)
BOUNDS = {"estimate", "low", "high"}
FLIPS, PROBES = "holdfast_flip_rate", "holdfast_probe_total"
OFF = "holdfast_detector_off"
NOW = {"holdfast_queue_images", "holdfast_admitted_images"}

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and the labels that are looked at."""

_LABELS: dict[str, tuple[str, ...]] = {
    f"{CALLS}_bucket": ("le",),
    f"{QUEUE}_bucket": ("le",),
    f"{ENGINE}_bucket": ("le",),
    REFUSED: ("reason",),
    FAILURES: ("observer",),
    SHED: ("observer",),
    FLIPS: ("attack", "epsilon", "bound"),
    PROBES: ("attack", "epsilon"),
    OFF: ("detector",),
} | dict.fromkeys(NOW, ())


@dataclass(frozen=True, slots=True)
class FlipRateFigure:
    """The flip rate of one attack at one epsilon (pixels in [0, 1]), with its 95 % interval and the probes behind it."""

    attack: str
    epsilon: float
    estimate: float
    low: float
    high: float
    probes: int


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Seconds below which half, 95 % and 99 % lie; inf where it is above the largest bucket, None where nothing happened."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class TrafficFigures:
    """The last minute, or as much of it as somebody has looked.

    Attributes:
        seconds: how long that is; 0 at the first look, when no rate is known.
        images, calls: a second; NaN at the first look.
        queued, admitted: images now.
        refused: images in that time, by reason.
        call, queue, model: durations of unary gRPC calls, of an image in the queue, of a batch in the model.
        flips: of probes.
        failing: observers that have failed since the start, with how often.
        off: detectors that have failed.
        watching: detectors that have not.
        shed: images that observers had no time for in that time, by observer.

    """

    seconds: float
    images: float
    calls: float
    queued: int
    admitted: int
    refused: Mapping[str, int] = field(default_factory=dict)
    call: Quantiles = field(default_factory=Quantiles)
    queue: Quantiles = field(default_factory=Quantiles)
    model: Quantiles = field(default_factory=Quantiles)
    flips: tuple[FlipRateFigure, ...] = ()
    failing: Mapping[str, int] = field(default_factory=dict)
    off: Sequence[str] = ()
    watching: Sequence[str] = ()
    shed: Mapping[str, int] = field(default_factory=dict)


class MetricsWindow:
    """Compares metrics with those of a minute ago. It costs nothing while nobody looks. Any thread may look, but no event loop.

    Args:
        registry: of all processes. Collecting it may take milliseconds, and the event loop's help.

    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry, self._lock = registry, threading.Lock()
        self._looks: deque[tuple[float, dict[Key, float]]] = deque()

    def look(self) -> TrafficFigures:
        """What happened since the look of a minute ago, or the first one since."""
        with self._lock:
            now, samples = time.monotonic(), _samples_of(self._registry)
            while len(self._looks) > 1 and self._looks[1][0] <= now - WINDOW_S:
                self._looks.popleft()
            if self._looks and self._looks[0][0] < now - 2 * WINDOW_S:  # nobody has looked for long
                self._looks.clear()
            began, before = self._looks[0] if self._looks else (now, samples)
            self._looks.append((now, samples))
        return _figures_of(now - began, before, samples)


def _samples_of(registry: CollectorRegistry) -> dict[Key, float]:
    """Those that are looked at, summed over processes and services."""
    found: defaultdict[Key, float] = defaultdict(float)
    for family in registry.collect():
        for sample in family.samples:
            names = _LABELS.get(sample.name)
            if names is None or ("grpc_service" in sample.labels and not _is_answering(sample.labels)):
                continue
            found[sample.name, tuple((name, sample.labels.get(name, "")) for name in names)] += sample.value
    return found


def _is_answering(labels: Mapping[str, str]) -> bool:
    return labels["grpc_service"] in SERVICES and labels.get("grpc_type") == "unary"


def _figures_of(seconds: float, before: Mapping[Key, float], now: Mapping[Key, float]) -> TrafficFigures:
    since = {key: value - before.get(key, 0.0) for key, value in now.items()}
    images, calls, batches = (_buckets(since, name) for name in (QUEUE, CALLS, ENGINE))
    return TrafficFigures(
        seconds=seconds,
        images=_count(images) / seconds if seconds else float("nan"),
        calls=_count(calls) / seconds if seconds else float("nan"),
        queued=round(now.get(("holdfast_queue_images", ()), 0)),
        admitted=round(now.get(("holdfast_admitted_images", ()), 0)),
        refused=_by_label(since, REFUSED),
        call=quantiles_of(calls),
        queue=quantiles_of(images),
        model=quantiles_of(batches),
        flips=_flips(now),
        failing=_by_label(now, FAILURES),
        off=[name for name, value in _each(now, OFF) if value],
        watching=[name for name, value in _each(now, OFF) if not value],
        shed=_by_label(since, SHED),
    )


def _each(samples: Mapping[Key, float], name: str) -> list[tuple[str, float]]:
    """Of a metric with one label: the label's values, and its own."""
    return sorted((labels[0][1], value) for (metric, labels), value in samples.items() if metric == name)


def _by_label(samples: Mapping[Key, float], name: str) -> dict[str, int]:
    """Of a metric with one label: what is not 0, the largest first."""
    found = {labels[0][1]: round(value) for (metric, labels), value in samples.items() if metric == name and round(value)}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _buckets(samples: Mapping[Key, float], name: str) -> list[tuple[float, float]]:
    """(upper bound, values at it or below) of a histogram, ascending."""
    metric = f"{name}_bucket"
    return sorted((float(labels[0][1]), value) for (each, labels), value in samples.items() if each == metric)


def _count(buckets: list[tuple[float, float]]) -> float:
    return buckets[-1][1] if buckets else 0.0


def quantiles_of(buckets: list[tuple[float, float]]) -> Quantiles:
    """Of (upper bound, values at it or below), ascending; within a bucket values are taken to lie evenly."""
    if not (total := _count(buckets)):
        return Quantiles()
    return Quantiles(*(_quantile(buckets, share * total) for share in (0.5, 0.95, 0.99)))


def _quantile(buckets: Iterable[tuple[float, float]], rank: float) -> float:
    low = below = 0.0
    for bound, count in buckets:
        if count >= rank:
            return low + (bound - low) * (rank - below) / (count - below) if isfinite(bound) else inf
        low, below = bound, count
    return inf


def _on_grid(epsilon: float) -> float:
    """A whole number of grey levels, where a label of six digits means one."""
    levels = round(epsilon * 255)
    return levels / 255 if abs(epsilon * 255 - levels) < 1e-3 and levels else epsilon


def _flips(samples: Mapping[Key, float]) -> tuple[FlipRateFigure, ...]:
    bounds: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    probes: defaultdict[tuple[str, str], float] = defaultdict(float)
    for (name, labels), value in samples.items():
        if name == FLIPS:
            attack, epsilon, bound = (text for _, text in labels)
            bounds[attack, epsilon][bound] = value
        elif name == PROBES:
            probes[labels[0][1], labels[1][1]] += value
    found = [
        FlipRateFigure(attack, _on_grid(float(epsilon)), probes=round(probes[attack, epsilon]), **each)
        for (attack, epsilon), each in bounds.items()
        if each.keys() == BOUNDS
    ]
    return tuple(sorted(found, key=lambda each: (each.attack, each.epsilon)))
