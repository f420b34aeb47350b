"""The thread that attacks a sample of answered images while the server is idle."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import HoldfastError
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.observers import BackgroundObserver, ObservedBatch, ObserverContext
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.monitor.probes.attack import ProbeAttack, ProbeTarget, radius_in_levels
from holdfast.server.monitor.probes.budget import CpuBudget
from holdfast.server.monitor.probes.priority import lower_thread_priority
from holdfast.server.monitor.probes.results import Outcome, ProbeSettings
from holdfast.server.monitor.probes.sampling import MarginSampler, finite
from holdfast.server.monitor.probes.stability import Selection, StabilityEstimate
from holdfast.server.monitor.probes.state import Estimates, load_estimates, save_estimates
from holdfast.server.monitor.probes.table import ATTACKS
from holdfast.server.settings import ConfigurationError

log = logging.getLogger(__name__)

QUEUE = 32
"""Samples that wait at most; more are shed. Few, because old traffic says little about now."""

MOST_MARGINS = 100_000
"""Margins of answers that wait to be counted, at most; further answers are not part of the estimate."""

BUSY_NAP = 0.02
"""Seconds between two looks at a busy server."""

SAVE_EVERY_S = 30.0
"""Seconds between two times that what was found is kept: so much of it a crash may cost."""


class Abandoned(Exception):  # noqa: N818 - a signal, not an error
    """While a probe waited for its turn, the prober was asked to stop or another model began to be served."""


@dataclass(frozen=True)
class Sample:
    """One answered image, uint8 [H, W, C], with its label and the model that gave it."""

    snapshot: ModelSnapshot
    image: NDArray[np.uint8]
    label: int


@dataclass(frozen=True, slots=True)
class ConsideredAnswers:
    """Answers of one batch that could have been probed.

    Attributes:
        snapshot: what answered.
        margins: float64 [N], finite, in the order of the batch.
        chosen: the numbers of those that are probed, ascending.
        inclusion: float64 [len(chosen)], the probabilities with which they were.

    """

    snapshot: ModelSnapshot
    margins: NDArray[np.float64]
    chosen: NDArray[np.intp]
    inclusion: NDArray[np.float64]


class Prober(BackgroundObserver):
    """Probes sampled traffic: sampled by chance and margin, bounded by budget, shed under load.

    An answer never waits for a probe: only copies of what is sampled are queued, and the thread works only while `idle()` is
    true. An answer can be sampled only while the queue has room for it, which nobody knows of the answer itself: so what is
    shed does not bend the estimate, and what the estimate does not speak of is counted as holdfast_probe_unseen_answers_total.
    Under a flood, which may well be the attack, that is what rises.

    A sample is probed by the model that answered it. Once a model of another bundle is served, it is shed, and estimates begin
    anew. Exemplars that change do neither.

    Raises ConfigurationError where an epsilon is too small to change a grey level, and HoldfastError where there is none.
    """

    name = "prober"

    def __init__(
        self, settings: ProbeSettings, holder: ModelHolder, metrics: Metrics, idle: Callable[[], bool], capacity: int = QUEUE
    ) -> None:
        super().__init__(capacity, metrics)
        self._settings, self._holder, self._metrics, self._idle = settings, holder, metrics, idle
        self._attacks = {name: ATTACKS[name] for name in settings.probe_attacks}
        self._sampler, self._draws, self._rng = (
            MarginSampler(settings.probe_rate),
            np.random.default_rng(),
            np.random.default_rng(),
        )
        self._considered: deque[ConsideredAnswers] = deque()
        self._margins_waiting = 0
        self._estimates: Estimates = {}
        self._estimates_of = holder.current.description  # the model that they are of
        self._saved, self._torn = time.monotonic(), False
        self._budget: CpuBudget  # made by the thread whose time it measures
        holder.require(self._check)

    @classmethod
    def make(cls, context: ObserverContext) -> "Prober | None":
        """The prober, where it is on."""
        if context.settings.probe_rate == 0:
            return None
        if context.holder.current.description.contract.kind == "speech":
            log.info("no probes: epsilon would be in grey levels of pictures of sound, which no attacker changes by themselves")
            return None
        return cls(context.settings, context.holder, context.metrics, context.idle)

    def observe(self, batch: ObservedBatch) -> None:
        """Sample each answer for which there is room. Never blocks."""
        margins = finite(batch.answers.soft_margin)
        inclusion = self._sampler.probabilities(margins)
        drawn = np.flatnonzero(self._draws.random(len(margins)) < inclusion)
        with self._lock:
            room = self._capacity - self._waiting if self._margins_waiting + len(margins) <= MOST_MARGINS else 0
            chosen = drawn[:room]
            seen = 0 if room == 0 else len(margins) if len(drawn) < room else int(chosen[-1]) + 1
            self._waiting += len(chosen)
            self._margins_waiting += seen
            if seen:
                self._considered.append(ConsideredAnswers(batch.snapshot, margins[:seen], chosen, inclusion[chosen]))
        if seen < len(margins):
            self._metrics.probes.unseen.inc(len(margins) - seen)
        if len(chosen) < len(drawn):
            self.shed(len(drawn) - len(chosen))
        if len(chosen):
            self._queue.put(batch.take(chosen))

    def shed(self, images: int) -> None:
        """Count samples that are not probed."""
        super().shed(images)
        self._metrics.probes.shed.inc(images)

    def prepare(self) -> None:
        """Give way to all other threads, and go on from what was kept."""
        lower_thread_priority()
        self._budget = CpuBudget(self._settings.probe_budget)
        path, model = self._settings.probe_state, self._holder.current
        if path is not None:
            self._estimates_of = model.description
            self._estimates = load_estimates(path, model.description.bundle_version, self._effort)
            self._publish(model)

    def stop(self) -> None:
        """End, and keep what was found, unless it was ended in the midst of a batch: then what was kept before stands."""
        super().stop()
        if self._settings.probe_state is not None and self._estimates and not self._torn and not self._thread.is_alive():
            self._save(self._settings.probe_state)

    def work(self, batch: ObservedBatch) -> None:
        """Count the answers up to this batch's, and probe its images."""
        while True:
            with self._lock:
                considered = self._considered.popleft()
                self._margins_waiting -= len(considered.margins)
            if not self._is_current(considered.snapshot):
                self.shed(len(considered.chosen))
            else:
                self._work_on(considered, batch)
            if len(considered.chosen):
                return

    def _work_on(self, considered: ConsideredAnswers, batch: ObservedBatch) -> None:
        self._begin_anew_with(considered.snapshot)
        series = {
            (name, epsilon): self._estimates.setdefault((name, epsilon), StabilityEstimate())
            for name in self._attacks
            for epsilon in self._epsilons_for(considered.snapshot)
        }
        answered = considered.margins, considered.chosen, considered.inclusion
        selected = {key: estimate.answered(*answered) for key, estimate in series.items()}
        self._sampler.learn(considered.margins)
        if not len(considered.chosen):
            return
        for position, (image, label) in enumerate(zip(batch.images, batch.answers.labels.tolist(), strict=True)):
            try:
                for key, selections in selected.items():
                    self._probe(Sample(batch.snapshot, image, label), key, selections[position])
            except Abandoned:
                self._torn = True  # some of the answers that were counted are not probed any more
                self.shed(len(batch) - position)
                return
        for estimate in series.values():
            estimate.learn()
        self._publish(considered.snapshot)
        if self._settings.probe_state is not None and time.monotonic() - self._saved >= SAVE_EVERY_S:
            self._save(self._settings.probe_state)

    def _save(self, path: Path) -> None:
        self._saved = time.monotonic()
        if self._estimates_of.bundle_version:
            save_estimates(path, self._estimates_of.bundle_version, self._effort, self._estimates)

    def _begin_anew_with(self, snapshot: ModelSnapshot) -> None:
        """Drop estimates of another bundle."""
        was, self._estimates_of = self._estimates_of, snapshot.description
        if was.version != self._estimates_of.version and not was.is_of_bundle_of(self._estimates_of):
            self._estimates.clear()
            self._torn = False

    def _publish(self, snapshot: ModelSnapshot) -> None:
        for (name, epsilon), estimate in self._estimates.items():
            if (interval := estimate.interval()) is not None:
                self._metrics.probes.flip_rate(name, epsilon, interval, snapshot.version)

    @property
    def _effort(self) -> str:
        """How hard attacks try: estimates of another effort are of something else."""
        return f"{self._settings.probe_steps} steps, {self._settings.probe_queries} queries"

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
        if threat is None or threat.norm != "linf" or threat.epsilon == 0:
            raise HoldfastError("the bundle names no L-infinity radius to probe at; set --probe-epsilons")
        return (threat.epsilon,)

    def _probe(self, sample: Sample, key: tuple[str, float], selection: Selection) -> None:
        """Runs one attack on one sample and counts what came of it, whatever came of it."""
        started, (name, epsilon) = time.thread_time(), key
        outcome: Outcome
        try:
            outcome = "flip" if self._flips(sample, self._attacks[name], epsilon) else "hold"
        except Abandoned:
            raise
        except Exception:  # a broken probe is a number on a dashboard, never a broken server
            log.exception("the probe %s at epsilon %g failed", name, epsilon)
            outcome = "error"
        self._metrics.probes.done(name, epsilon, outcome, time.thread_time() - started)
        if outcome != "error":
            self._estimates[key].probed(selection, flipped=outcome == "flip")

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
            self._settings.probe_queries,
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
