"""The thread that attacks a sample of answered requests, when nobody else needs the machine."""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.model.classifier import Classifier
from holdfast.model.encoder.onnx import OnnxGradient
from holdfast.server.monitor.probes.attack import ProbeAttack, ProbeTarget, radius_in_levels
from holdfast.server.monitor.probes.budget import CpuBudget
from holdfast.server.monitor.probes.flip_rate import FlipRate
from holdfast.server.monitor.probes.priority import lower_thread_priority
from holdfast.server.monitor.probes.results import Outcome, ProbeMetrics, ProbeSettings
from holdfast.server.monitor.probes.table import ATTACKS
from holdfast.server.settings import ConfigurationError

log = logging.getLogger(__name__)

QUEUE = 32
"""Samples that wait at most; more are shed. Few, because old traffic says little about now."""

BUSY_NAP = 0.02
"""Seconds between two looks at a busy server."""


@dataclass(frozen=True)
class Sample:
    """One answered request: image uint8 [H, W, C], the served label, and its soft margin when it was answered."""

    image: NDArray[np.uint8]
    label: int
    soft_margin: float


class Stopped(Exception):  # noqa: N818 - a signal, not an error
    """The prober was asked to stop while a probe waited for its turn."""


class Prober:
    """Probes sampled traffic on one daemon thread: sampled by rate, bounded by budget, shed under load.

    Raises ConfigurationError where an epsilon is too small to change a grey level.

    An answer never waits for a probe: `offer` only puts a copy on a bounded queue, and the thread works only while
    `idle()` is true. That also means that the estimate is drawn from quiet moments: under a flood, which may well be the
    attack, `holdfast_probe_shed_total` rises instead.
    """

    def __init__(
        self,
        settings: ProbeSettings,
        classifier: Classifier,
        gradient: OnnxGradient,
        metrics: ProbeMetrics,
        idle: Callable[[], bool],
    ) -> None:
        self._settings, self._classifier, self._gradient = settings, classifier, gradient
        self._epsilons = _visible(settings.probe_epsilons)
        self._metrics, self._idle = metrics, idle
        self._samples: queue.Queue[Sample] = queue.Queue(QUEUE)
        self._stopping = threading.Event()
        self._sampler = random.Random()
        self._rng = np.random.default_rng()
        self._rates: dict[tuple[str, float], FlipRate] = {}
        self._budget: CpuBudget  # made by the thread whose time it measures
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Asks the thread to end between two candidates, and waits for it at most `timeout` seconds."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def offer(self, image: NDArray[np.uint8], label: int, soft_margin: float) -> None:
        """Takes, with probability probe_rate, an answered image [H, W, C] to be probed. Never blocks, never raises."""
        if self._sampler.random() >= self._settings.probe_rate:
            return
        try:
            self._samples.put_nowait(Sample(image.copy(), label, soft_margin))
        except queue.Full:
            self._metrics.probe_shed()

    def _run(self) -> None:
        lower_thread_priority()
        self._budget = CpuBudget(self._settings.probe_budget)
        while not self._stopping.is_set():
            try:
                sample = self._samples.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                for name, attack in ATTACKS.items():
                    for epsilon in self._epsilons:
                        self._probe(sample, name, attack, epsilon)
            except Stopped:
                return

    def _probe(self, sample: Sample, name: str, attack: ProbeAttack, epsilon: float) -> None:
        """Runs one attack on one sample and counts what came of it, whatever came of it."""
        started = time.thread_time()
        outcome: Outcome
        try:
            outcome = "flip" if self._flips(sample, attack, epsilon) else "hold"
        except Stopped:
            raise
        except Exception:  # a broken probe is a number on a dashboard, never a broken server
            log.exception("the probe %s at epsilon %g failed", name, epsilon)
            outcome = "error"
        self._metrics.probe_done(name, epsilon, outcome, time.thread_time() - started)
        if outcome != "error":
            rate = self._rates.setdefault((name, epsilon), FlipRate()).add(outcome == "flip")
            self._metrics.flip_rate(name, epsilon, rate)

    def _flips(self, sample: Sample, attack: ProbeAttack, epsilon: float) -> bool:
        """Whether any candidate of the search gets another label from the classifier as served."""
        target = ProbeTarget(
            sample.image,
            sample.label,
            radius_in_levels(epsilon),
            self._settings.probe_steps,
            self._classifier.surrogate,
            self._gradient,
        )
        search = attack(target, self._rng)
        try:
            candidate = next(search)
            while True:
                self._await_turn()
                answers = self._classifier.classify(candidate[None])
                if answers.labels[0] != sample.label:
                    return True
                candidate = search.send(answers.embeddings[0])
        except StopIteration:
            return False

    def _await_turn(self) -> None:
        """Waits until the server is idle and the budget allows more; raises Stopped if the server goes down meanwhile."""
        while not self._stopping.is_set():
            nap = self._budget.wait() or (0.0 if self._idle() else BUSY_NAP)
            if nap == 0.0:
                return
            self._stopping.wait(nap)
        raise Stopped


def _visible(epsilons: tuple[float, ...]) -> tuple[float, ...]:
    """The radii, if each can change a picture at all."""
    blind = [epsilon for epsilon in epsilons if radius_in_levels(epsilon) < 1]
    if blind:
        raise ConfigurationError(f"probe_epsilons: {blind} change no grey level; probe at 1/255 or more")
    return epsilons
