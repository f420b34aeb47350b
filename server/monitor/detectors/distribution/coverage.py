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
        cells = self._cells(traffic.embeddings[rows])
        self._cover(callers, cells)
        settings = self.context.settings
        if settings.coverage_images:
            for caller in np.unique(callers).tolist():
                enough = self._images[caller] >= settings.coverage_images
                if enough and self._covered[caller] >= settings.coverage_above:
                    self.alarm(caller, self._covered[caller], settings.coverage_above)
        if traffic.now - self._shown >= SHOWN_EVERY_S:
            self._shown = traffic.now
            self._show()

    def forget(self, caller: int) -> None:
        """Begin anew."""
        self._been[caller], self._images[caller], self._covered[caller] = False, 0, 0.0

    def _cover(self, callers: NDArray[np.intp], cells: NDArray[np.intp]) -> None:
        """Count the cells that a caller has not been to before."""
        fresh = ~self._been[callers, cells]
        if fresh.any():
            callers, cells = np.unique(np.stack((callers[fresh], cells[fresh])), axis=1)
            self._been[callers, cells] = True
            np.add.at(self._covered, callers, self._weights[cells])

    def _cells(self, embeddings: Floats) -> NDArray[np.intp]:
        """Shape: [N, D] -> [N] in [0, 2^PLANES)."""
        sides = (embeddings - self._middle) @ self._planes > 0
        cells: NDArray[np.intp] = sides @ (1 << np.arange(PLANES))
        return cells

    def _show(self) -> None:
        numbers = self.context.numbers
        self.context.metrics.coverage({numbers.name(n): self._covered[n] for n in np.flatnonzero(self._images).tolist()})
