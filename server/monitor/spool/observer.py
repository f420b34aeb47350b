"""Keeps a sample of what was answered in the spool, on a thread of low priority and with nothing to wait for."""

import logging

import numpy as np
from numpy.typing import NDArray

from holdfast.data.streams.screening import NearDuplicates, outliers
from holdfast.errors import HoldfastError
from holdfast.server.core.observers import BackgroundObserver, ObservedBatch, ObserverContext
from holdfast.server.metrics.answers.spool import SpoolMetrics
from holdfast.server.monitor.probes.priority import lower_thread_priority
from holdfast.server.monitor.spool.directory import SpoolDirectory
from holdfast.server.settings import ConfigurationError

log = logging.getLogger(__name__)

QUEUE = 256
"""Sampled images that wait at most; more are shed."""

COMPARED = 4096
"""Kept images that a new one is compared with, each as a sketch of 256 bytes."""


class ImageSpool(BackgroundObserver):
    """The images of answers that were no abstentions: those who come in many variants once, outliers not at all.

    No label, no caller and no time is kept. Where a file cannot be written, as on a full disk, the spool is off until the
    server is started again; answers go on.

    Args:
        context: of the engine.

    Raises:
        ConfigurationError: the directory cannot be written to.

    """

    name = "spool"

    def __init__(self, context: ObserverContext) -> None:
        super().__init__(QUEUE, context.metrics)
        settings = context.settings
        assert settings.spool is not None  # noqa: S101 - where there is a share there is a spool, see the settings
        self._path, self._share, self._draws = settings.spool, settings.keep_share, np.random.default_rng()
        try:
            self._directory = SpoolDirectory(self._path, settings.spool_bytes, np.random.default_rng())
        except OSError as error:
            raise ConfigurationError(
                f"the spool {self._path} cannot be written to: {error.strerror}; name another by --spool, or keep nothing"
            ) from None
        self._metrics = SpoolMetrics(context.metrics.registry)
        self._metrics.on.set(1)
        self._metrics.bytes.set(self._directory.bytes)
        self._near = NearDuplicates(context.holder.current.description.contract.shape, COMPARED)
        self._off = False

    @classmethod
    def make(cls, context: ObserverContext) -> "ImageSpool":
        """The spool of a server that is to keep a share of the images.

        Raises:
            HoldfastError: the model listens.

        """
        if context.holder.current.description.contract.kind == "speech":
            raise HoldfastError("--keep-share keeps images, and this model listens to recordings: leave it out")
        return cls(context)

    def select(self, batch: ObservedBatch) -> NDArray[np.intp]:
        """A random share of the images that were answered without abstaining."""
        if self._off:
            return np.empty(0, np.intp)
        drawn = self._draws.random(len(batch)) < self._share
        return np.flatnonzero(drawn & ~batch.answers.abstain)

    def copy(self, batch: ObservedBatch, rows: NDArray[np.intp]) -> ObservedBatch:
        """Without neighbours, which are most of what an answer takes."""
        return batch.without_neighbours().take(rows)

    def prepare(self) -> None:
        """Give way to what answers."""
        lower_thread_priority()

    def work(self, batch: ObservedBatch) -> None:
        """Leave out outliers and what is nearly there, and write the rest."""
        if self._off:
            return
        calibration = batch.snapshot.classifier.calibration
        held_out = len(calibration.distances) if calibration else 0
        ordinary = ~outliers(batch.answers.kth_distance_p_value, held_out)
        new = self._near.new(batch.images[ordinary])
        self._metrics.count("outlier", int((~ordinary).sum()))
        self._metrics.count("repeated", int((~new).sum()))
        for image in batch.images[ordinary][new]:
            if self.stopping.is_set() or not self._write(image):
                return

    def _write(self, image: NDArray[np.uint8]) -> bool:
        """Whether the spool is still on."""
        try:
            self._metrics.count(self._directory.add(image))
        except OSError as error:
            self._off = True
            self._metrics.count("failed")
            self._metrics.on.set(0)
            log.error(  # noqa: TRY400 - a sentence for the operator
                "images are no longer kept: %s cannot be written to: %s; make room and start the server again",
                self._path,
                error.strerror,
            )
        self._metrics.bytes.set(self._directory.bytes)
        return not self._off
