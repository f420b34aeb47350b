"""The thread that attacks a sample of answered images while the server is idle."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import HoldfastError
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.observers import BackgroundObserver, ObservedBatch, ObserverContext
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.monitor.probes.attack import ProbeAttack, ProbeTarget, radius_in_levels
from holdfast.server.monitor.probes.budget import CpuBudget
from holdfast.server.monitor.probes.flip_rate import FlipRate
from holdfast.server.monitor.probes.priority import lower_thread_priority
from holdfast.server.monitor.probes.results import Outcome, ProbeSettings
from holdfast.server.monitor.probes.table import ATTACKS
from holdfast.server.settings import ConfigurationError

log = logging.getLogger(__name__)

QUEUE = 32
"""Samples that wait at most; more are shed. Few, because old traffic says little about now."""

BUSY_NAP = 0.02
"""Seconds between two looks at a busy server."""


class Abandoned(Exception):  # noqa: N818 - a signal, not an error
    """While a probe waited for its turn, the prober was asked to stop or another model began to be served."""


@dataclass(frozen=True)
class Sample:
    """One answered image, uint8 [H, W, C], with its label and the model that gave it."""

    snapshot: ModelSnapshot
    image: NDArray[np.uint8]
    label: int


class Prober(BackgroundObserver):
    """Probes sampled traffic: sampled by rate, bounded by budget, shed under load.

    An answer never waits for a probe: only copies of what is sampled are queued, and the thread works only while `idle()` is
    true. That also means that the estimate is drawn from quiet moments: under a flood, which may well be the attack, the
    metric holdfast_observer_shed_images_total rises instead.

    A sample is probed by the model that answered it. Once a model of another bundle is served, it is shed, and flip rates begin
    anew. Exemplars that change do neither.

    Raises ConfigurationError where an epsilon is too small to change a grey level, and HoldfastError where there is none.
    """

    name = "prober"

    def __init__(
        self, settings: ProbeSettings, holder: ModelHolder, metrics: Metrics, idle: Callable[[], bool], capacity: int = QUEUE
    ) -> None:
        super().__init__(capacity, metrics)
        self._settings, self._holder, self._metrics, self._idle = settings, holder, metrics, idle
        self._sampler, self._rng = np.random.default_rng(), np.random.default_rng()
        self._rates: dict[tuple[str, float], FlipRate] = {}
        self._rates_of = holder.current.description  # the model that they are of
        self._budget: CpuBudget  # made by the thread whose time it measures
        holder.require(self._check)

    @classmethod
    def make(cls, context: ObserverContext) -> "Prober | None":
        """The prober, where it is on."""
        if context.settings.probe_rate == 0:
            return None
        return cls(context.settings, context.holder, context.metrics, context.idle)

    def select(self, batch: ObservedBatch) -> NDArray[np.intp]:
        """Each image with probability probe_rate."""
        return np.flatnonzero(self._sampler.random(len(batch)) < self._settings.probe_rate)

    def prepare(self) -> None:
        """Give way to all other threads."""
        lower_thread_priority()
        self._budget = CpuBudget(self._settings.probe_budget)

    def work(self, batch: ObservedBatch) -> None:
        """Probe each image."""
        for position, (image, label) in enumerate(zip(batch.images, batch.answers.labels.tolist(), strict=True)):
            sample = Sample(batch.snapshot, image, label)
            try:
                for name, attack in ATTACKS.items():
                    for epsilon in self._epsilons_for(batch.snapshot):
                        self._probe(sample, name, attack, epsilon)
            except Abandoned:
                self.shed(len(batch) - position)
                return

    def _is_current(self, snapshot: ModelSnapshot) -> bool:
        current = self._holder.current
        return current is snapshot or snapshot.description.is_of_bundle_of(current.description)

    def _check(self, snapshot: ModelSnapshot) -> None:
        """Raise HoldfastError for a model that cannot be probed: no radius, no exemplars to attack, no gradient."""
        radii = self._epsilons_for(snapshot)
        if invisible := [epsilon for epsilon in radii if radius_in_levels(epsilon) < 1]:
            raise ConfigurationError(f"probe_epsilons: {invisible} change no grey level; probe at 1/255 or more")
        if snapshot.classifier.surrogate is None:
            raise ConfigurationError("probes attack the exemplars, which this bundle's index cannot export: set --probe-rate 0")
        _ = snapshot.gradient

    def _epsilons_for(self, snapshot: ModelSnapshot) -> tuple[float, ...]:
        """The radii, which are the model's own unless the settings say otherwise."""
        if self._settings.probe_epsilons:
            return self._settings.probe_epsilons
        threat = snapshot.description.threat_model
        if threat.norm != "linf" or threat.epsilon == 0:
            raise HoldfastError("the bundle names no L-infinity radius to probe at; set --probe-epsilons")
        return (threat.epsilon,)

    def _probe(self, sample: Sample, name: str, attack: ProbeAttack, epsilon: float) -> None:
        """Runs one attack on one sample and counts what came of it, whatever came of it."""
        started = time.thread_time()
        outcome: Outcome
        try:
            outcome = "flip" if self._flips(sample, attack, epsilon) else "hold"
        except Abandoned:
            raise
        except Exception:  # a broken probe is a number on a dashboard, never a broken server
            log.exception("the probe %s at epsilon %g failed", name, epsilon)
            outcome = "error"
        self._metrics.probe_done(name, epsilon, outcome, time.thread_time() - started)
        if outcome != "error" and self._is_current(sample.snapshot):
            was, self._rates_of = self._rates_of, sample.snapshot.description
            if was.version != self._rates_of.version and not was.is_of_bundle_of(self._rates_of):
                self._rates.clear()
            rate = self._rates.setdefault((name, epsilon), FlipRate()).add(outcome == "flip")
            self._metrics.flip_rate(name, epsilon, rate, sample.snapshot.version)

    def _flips(self, sample: Sample, attack: ProbeAttack, epsilon: float) -> bool:
        """Whether any candidate of the search gets another label from the model that answered."""
        classifier = sample.snapshot.classifier
        surrogate = classifier.surrogate
        assert surrogate is not None  # noqa: S101 - `_check` has refused such a model
        target = ProbeTarget(
            sample.image,
            sample.label,
            radius_in_levels(epsilon),
            self._settings.probe_steps,
            surrogate,
            sample.snapshot.gradient,
        )
        search = attack(target, self._rng)
        try:
            candidate = next(search)
            while True:
                self._await_turn(sample)
                answers = classifier.classify(candidate[None])
                if answers.labels[0] != sample.label:
                    return True
                candidate = search.send(answers.embeddings[0])
        except StopIteration:
            return False

    def _await_turn(self, sample: Sample) -> None:
        """Wait until the server is idle and the budget allows more. Raises Abandoned."""
        while not self.stopping.is_set() and self._is_current(sample.snapshot):
            nap = self._budget.wait() or (0.0 if self._idle() else BUSY_NAP)
            if nap == 0.0:
                return
            self.stopping.wait(nap)
        raise Abandoned
