"""How much of the space of embeddings one caller has asked about: whoever copies a model needs all of it, a user mostly a part.

As in B4B (arXiv 2310.08571) the space is cut into cells, by secret random planes through the middle of the bundle's held-out
images. A caller's coverage is the share of these images that lie in cells that the caller has been to. A crawler that asks
about everything covers as much as a thief: what is shown is what was taken, not why. So there is an alarm only where the
operator says after how many images.
"""

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats
from holdfast.server.monitor.detectors.callers import NOBODY
from holdfast.server.monitor.detectors.detector import DetectorContext, TrafficDetector
from holdfast.server.monitor.detectors.reference import Reference
from holdfast.server.monitor.detectors.traffic import ObservedTraffic

PLANES = 10
"""Which make 1,024 cells."""

SHOWN_EVERY_S = 5.0
"""Seconds between two changes of the metric."""


class ExtractionCoverage(TrafficDetector):
    """Of each caller."""

    name = "extraction-coverage"

    def __init__(self, context: DetectorContext, reference: Reference) -> None:
        super().__init__(context)
        embeddings = reference.embeddings
        self._middle = embeddings.mean(axis=0)
        self._planes = np.random.default_rng().standard_normal((embeddings.shape[1], PLANES)).astype(np.float32)
        cells = np.bincount(self._cells(embeddings), minlength=2**PLANES)
        self._weights = cells / cells.sum()
        self._been = np.zeros((context.numbers.capacity, 2**PLANES), np.bool_)
        self._images = np.zeros(context.numbers.capacity, np.int64)
        self._covered = np.zeros(context.numbers.capacity)
        self._shown = 0.0

    @classmethod
    def make(cls, context: DetectorContext) -> "ExtractionCoverage | None":
        """Where the bundle has held-out images."""
        return None if context.reference is None else cls(context, context.reference)

    def look(self, traffic: ObservedTraffic) -> None:
        """At most one reason for each batch and caller. Variants of an image count once, as one."""
        rows = np.flatnonzero(self.context.near.new(traffic) & (traffic.callers != NOBODY))
        callers = traffic.callers[rows]
        np.add.at(self._images, callers, 1)
        cells = self._cells(traffic.answers.embeddings[rows])
        fresh = ~self._been[callers, cells]
        self._been[callers[fresh], cells[fresh]] = True
        settings = self.context.settings
        for caller in np.unique(callers).tolist():
            if fresh.any():
                self._covered[caller] = self._weights[self._been[caller]].sum()
            enough = 0 < settings.coverage_images <= self._images[caller]
            if enough and self._covered[caller] >= settings.coverage_above:
                self.alarm(caller, self._covered[caller], settings.coverage_above)
        if traffic.now - self._shown >= SHOWN_EVERY_S:
            self._shown = traffic.now
            self._show()

    def forget(self, caller: int) -> None:
        """Begin anew."""
        self._been[caller], self._images[caller], self._covered[caller] = False, 0, 0.0

    def _cells(self, embeddings: Floats) -> NDArray[np.intp]:
        """Shape: [N, D] -> [N] in [0, 2^PLANES)."""
        sides = (embeddings - self._middle) @ self._planes > 0
        cells: NDArray[np.intp] = sides @ (1 << np.arange(PLANES))
        return cells

    def _show(self) -> None:
        numbers = self.context.numbers
        self.context.metrics.coverage({numbers.name(n): self._covered[n] for n in np.flatnonzero(self._images).tolist()})
