"""Whether encoders that saw no labels lie in flatter minima than those that did, by what `moving` measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reproduce.kept_results import Figures, read
from reproduce.markdown import grid
from reproduce.sequential.claims import OrderScores
from reproduce.sequential.measuring import Scores
from reproduce.sequential.moving import DIRECTIONS
from reproduce.sequential.plan import JOINT, PLAIN, SUPERVISED, SUPERVISED_JOINT, TITLES
from reproduce.verdicts import Finding

PAIRS = ((PLAIN, SUPERVISED), (JOINT, SUPERVISED_JOINT))
"""Encoders that differ in whether they saw labels, and not in which images they saw when."""


@dataclass(frozen=True, eq=False)
class MovedScores:
    """Of one order: scores of the test images where the weights are moved.

    Attributes:
        order: of the stream.
        arms: by arm and radius float64 [N], means over the directions; at radius 0 the weights are as they are.

    """

    order: str
    arms: Mapping[str, Mapping[float, Scores]]

    @classmethod
    def of(cls, order: str, figures: Mapping[str, Figures]) -> "MovedScores":
        """Of what `StreamEvaluation.moved` returns, by arm."""
        return cls(
            order, {arm: {float(radius): _mean(bits) for radius, bits in found.items()} for arm, found in figures.items()}
        )

    def findings(self) -> list[Finding]:
        """That an encoder without labels loses less than one with them: at each radius, after the stream and of all at once."""
        pairs = [(one, other) for one, other in PAIRS if one in self.arms and other in self.arms]
        return [self._finding(one, other, radius) for one, other in pairs for radius in self.arms[one] if radius]

    def _finding(self, arm: str, control: str, radius: float) -> Finding:
        scores = {f"{each} {r:g}": self.arms[each][r] for each in (arm, control) for r in (0.0, radius)}
        falls = {f"{control} 0": 1.0, f"{control} {radius:g}": -1.0, f"{arm} 0": -1.0, f"{arm} {radius:g}": 1.0}
        how = f"fall of the kNN accuracy, paired over {len(scores[f'{arm} 0']):,} test images, {DIRECTIONS} directions"
        claim = f"weights moved by {radius:g} of their length, {TITLES[arm]} loses less than {TITLES[control]}"
        apart = OrderScores(self.order, scores).combined(falls)
        return Finding(f"{self.order}: {claim}", "-", f"{how}, one training", apart)


def moved_table(orders: Sequence[MovedScores]) -> str:
    """A row for each order and arm, a column for each radius."""
    radii = list(next(iter(orders[0].arms.values())))
    rows = [
        [f"{moves.order}, {TITLES[arm]}", *(f"{100 * by_radius[radius].mean():.1f}" for radius in radii)]
        for moves in orders
        for arm, by_radius in moves.arms.items()
    ]
    return grid(["order and training", *(f"moved by {radius:g}" if radius else "as it is" for radius in radii)], rows)


def _mean(bits: Sequence[str]) -> Scores:
    means: Scores = np.mean([read(each) for each in bits], axis=0, dtype=np.float64)
    return means
