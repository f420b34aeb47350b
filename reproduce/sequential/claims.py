"""What the paper says of streams, as statements about differences, and what was measured of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from holdfast.intervals import Difference
from reproduce.differences import difference_of
from reproduce.sequential.measuring import Scores
from reproduce.sequential.plan import (
    ANCHOR,
    BOTH,
    CLASS_ORDERS,
    DISTILLED,
    JOINT,
    MIXED,
    PLAIN,
    REPLAY,
    SUPERVISED,
    SUPERVISED_JOINT,
    TITLES,
)
from reproduce.verdicts import Finding

ABOUT = {"instance": 0.01, "random-class": 0.03}
"""By how much sequential may differ from joint training and be about as good."""

LARGE_SHIFT = ("distant-class", "domain", "domains")
METHODS = (REPLAY, ANCHOR, BOTH, MIXED, DISTILLED)
ARMS = (JOINT, PLAIN, *METHODS)


@dataclass(frozen=True, eq=False)
class OrderScores:
    """Of one order: scores of the test images under each arm that was trained, kNN or linear."""

    order: str
    arms: Mapping[str, Scores]

    def combined(self, weights: Mapping[str, float]) -> Difference:
        """A weighted sum of the arms' means with the bootstrap's interval over test images; weights above 0 less the others."""
        images = len(next(iter(self.arms.values())))
        plus, minus = np.zeros(images), np.zeros(images)
        for arm, weight in weights.items():
            plus += max(weight, 0.0) * self.arms[arm]
            minus += max(-weight, 0.0) * self.arms[arm]
        return difference_of(lambda rows: float(plus[rows].mean()), lambda rows: float(minus[rows].mean()), images)


def findings_of(measured: OrderScores, measure: str) -> list[Finding]:
    """On every claim about one order, by one measure: "kNN" or "linear probe"."""
    order, arms = measured.order, measured.arms
    how = f"{measure} accuracy, paired over {len(next(iter(arms.values()))):,} test images, one training"

    def finding(claim: str, weights: Mapping[str, float], margin: float = 0.0) -> Finding:
        return Finding(f"{order}: {claim}", "-", how, measured.combined(weights), margin)

    found = []
    if order in ABOUT:
        points = f"{100 * ABOUT[order]:g} point{'s' * (ABOUT[order] != 0.01)}"
        found += [
            finding(f"plain is at most {points} worse than joint", {PLAIN: 1, JOINT: -1}, -ABOUT[order]),
            finding(f"plain is at most {points} better than joint", {JOINT: 1, PLAIN: -1}, -ABOUT[order]),
        ]
    if order in LARGE_SHIFT:
        found.append(finding("plain is worse than joint", {JOINT: 1, PLAIN: -1}))
        found += [
            finding(f"{TITLES[arm]} closes at least half of the gap", {arm: 1, PLAIN: -0.5, JOINT: -0.5})
            for arm in METHODS
            if arm in arms
        ]
    if order in CLASS_ORDERS:
        loses = {SUPERVISED_JOINT: 1, SUPERVISED: -1, JOINT: -2, PLAIN: 2}
        found.append(finding("the supervised control loses more than twice what the label-free one loses", loses))
    return found
