"""A version that answers a share of the traffic beside the served one, after it, and whose answers nobody gets."""

import logging
import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.intervals import Rate
from holdfast.server.core.observers import BackgroundObserver, ObservedBatch
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.metrics.shadow import ShadowMetrics
from holdfast.server.monitor.probes.budget import CpuBudget
from holdfast.server.monitor.probes.priority import lower_thread_priority
from holdfast.server.settings import Settings
from holdfast.server.versions.loading import LoadedVersion

log = logging.getLogger(__name__)

CAPACITY = 256
"""Images that wait for the shadow, at most; more are shed."""

FIRST_REPORT = 100
"""Images after which the log says how the shadow does, and again each time that there are twice as many."""


@dataclass
class _Comparison:
    """What was counted of one shadow beside one served bundle."""

    served: str
    images: int = 0
    labels: int = 0
    abstentions: int = 0
    next_report: int = FIRST_REPORT


class Shadow(BackgroundObserver):
    """Answers sampled traffic with another version, under a budget, and counts where it differs.

    An answer never waits for it: copies of what is sampled go through a bounded queue, and are shed where the budget of CPU
    seconds is used up. Classes are compared by their names, so versions may order them otherwise. Exemplars that were changed
    while the served version was served are not in the shadow.

    Args:
        settings: share and budget.
        metrics: of the engine's process.

    """

    name = "shadow"

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        super().__init__(CAPACITY, metrics)
        self._share, self._rate = settings.shadow_share, settings.shadow_budget
        self._metrics = ShadowMetrics(metrics.registry)
        self._sampler = np.random.default_rng()
        self._changing = threading.Lock()
        self._loaded: LoadedVersion | None = None
        self._comparison = _Comparison("")
        self._budget: CpuBudget  # made by the thread whose time it measures

    @property
    def loaded(self) -> LoadedVersion | None:
        """The version that is the shadow now."""
        return self._loaded

    def show(self, loaded: LoadedVersion | None) -> None:
        """Let another version be the shadow, or none. Any thread may call it."""
        with self._changing:
            self._loaded, self._comparison = loaded, _Comparison("")
            model = loaded.snapshot.description if loaded is not None else None
            self._metrics.is_of(model.bundle_version if model else "", model.name if model else "")

    def select(self, batch: ObservedBatch) -> NDArray[np.intp]:
        """Each image with the probability that is the share."""
        if self._loaded is None:
            return np.zeros(0, np.intp)
        return np.flatnonzero(self._sampler.random(len(batch)) < self._share)

    def prepare(self) -> None:
        """Give way to all other threads."""
        lower_thread_priority()
        self._budget = CpuBudget(self._rate)

    def work(self, batch: ObservedBatch) -> None:
        """Answer the images and compare."""
        while (nap := self._budget.wait()) and not self.stopping.is_set():
            self.stopping.wait(nap)
        loaded = self._loaded
        if loaded is None or self.stopping.is_set():
            self.shed(len(batch))
            return
        started = time.thread_time()
        answers = loaded.snapshot.classifier.classify(batch.images)
        served = np.array(batch.snapshot.description.class_names)[batch.answers.labels]
        other = np.array(loaded.snapshot.description.class_names)[answers.labels]
        labels, abstentions = int((served != other).sum()), int((batch.answers.abstain != answers.abstain).sum())
        with self._changing:
            if loaded is self._loaded:
                beside = batch.snapshot.description.bundle_version
                self._count(beside, len(batch), labels, abstentions, time.thread_time() - started)

    def _count(self, beside: str, images: int, labels: int, abstentions: int, seconds: float) -> None:
        counted = self._comparison
        if counted.served != beside:
            counted = self._comparison = _Comparison(beside)
        counted.images += images
        counted.labels += labels
        counted.abstentions += abstentions
        rate = Rate(counted.labels, counted.images)
        self._metrics.compared(images, labels, abstentions, seconds, rate)
        if counted.images >= counted.next_report:
            counted.next_report = 2 * counted.images
            low, high = rate.interval
            log.info(
                "the shadow has answered %d images, %.2f %% with another label than %s (95 %%: %.2f to %.2f), and %d"
                " abstentions were other ones",
                *(counted.images, 100 * rate.value, beside or "the served version", 100 * low, 100 * high, counted.abstentions),
            )
