"""How likely an attack changes an answer, by its soft margin: a curve that falls, learned from probes (arXiv 2406.18451)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FlipCurve:
    """A step function that does not rise.

    Attributes:
        begins: float64 [n - 1], ascending: the margin from which each step but the first holds.
        values: float64 [n] in (0, 1), descending.

    """

    begins: Floats
    values: Floats

    def __call__(self, margins: NDArray[np.floating]) -> Floats:
        """P(flip | margin): [N] nats -> float64 [N]."""
        values: Floats = self.values[np.searchsorted(self.begins, margins, side="right")]
        return values

    @classmethod
    def unknown(cls) -> "FlipCurve":
        """Before anything was probed: one half everywhere."""
        return cls(np.empty(0), np.array([0.5]))

    @classmethod
    def fitted(cls, margins: Sequence[float], flips: Sequence[bool]) -> "FlipCurve":
        """The isotonic regression of flips on margins, by pooling adjacent violators.

        Each step is what it would be if one more probe had half flipped.

        Args:
            margins: nats, finite.
            flips: of the same probes.

        """
        if not len(margins):
            return cls.unknown()
        order = np.argsort(np.asarray(margins), kind="stable")
        sorted_margins = np.asarray(margins, dtype=np.float64)[order]
        firsts, starts = np.unique(sorted_margins, return_index=True)
        sums = np.add.reduceat(np.asarray(flips, dtype=np.float64)[order], starts)
        counts = np.diff(np.append(starts, len(order))).astype(np.float64)
        blocks: list[list[float]] = []  # where each begins, its flips and its probes
        for first, total, count in zip(firsts.tolist(), sums.tolist(), counts.tolist(), strict=True):
            blocks.append([first, total, count])
            while len(blocks) > 1 and blocks[-1][1] * blocks[-2][2] >= blocks[-2][1] * blocks[-1][2]:
                _, total_of_last, count_of_last = blocks.pop()
                blocks[-1][1] += total_of_last
                blocks[-1][2] += count_of_last
        table = np.array(blocks)
        return cls(table[1:, 0], np.minimum.accumulate((table[:, 1] + 0.5) / (table[:, 2] + 1)))
