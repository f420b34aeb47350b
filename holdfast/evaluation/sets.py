"""Conformal prediction sets: the labels that cannot be ruled out, and what calibration on attacked images does for them.

A set of level a holds every label whose p-value is above a; it holds the true one with a probability of at least 1 - a, if the
image comes from where the calibration images do. An attacked image does not, unless these were attacked, too: calibrated on the
worst that an attack within a ball found for each of them, sets keep their promise against that very attack, and against weaker
ones. They promise nothing against a stronger one. (Gendler et al., "Adversarially Robust Conformal Prediction", ICLR 2022,
promise it against all attacks within an L2 ball, of a smoothed classifier.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.intervals import Rate
from holdfast.model.answers import Ints
from holdfast.model.credibility import Calibration, nonconformity, p_values

LEVELS = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class SetMeasure:
    """Prediction sets of one level: how many hold the true label, and how many labels they hold on average."""

    level: float
    covered: Rate
    size: float


def set_p_values(
    shares: NDArray[np.float64], reference: NDArray[np.float64], truth: Ints, *, per_class: bool
) -> NDArray[np.float64]:
    """The p-value of every label.

    Args:
        shares: float64 [N, C], of the vote on the images that are asked about.
        reference: float64 [n, C], of the vote on the calibration images, attacked or not.
        truth: int64 [n], their true classes.
        per_class: whether each label is compared with the calibration images of its class alone (Mondrian): then the promise
            holds class by class. A label without any has p = 1, as nothing speaks against it.

    Returns:
        float64 [N, C] in (0, 1].

    """
    scores = nonconformity(reference[np.arange(len(truth)), truth])
    if not per_class:
        return p_values(shares, _calibrated(scores))
    p = np.ones(shares.shape)
    for label in np.unique(truth):
        p[:, label] = p_values(shares, _calibrated(scores[truth == label]))[:, label]
    return p


def measured_sets(p: NDArray[np.float64], truth: Ints, levels: tuple[float, ...] = LEVELS) -> list[SetMeasure]:
    """Coverage and mean size at each level, of p-values float64 [N, C] of images of the classes int64 [N], N >= 1."""
    inside = [p > level for level in levels]
    rows = np.arange(len(truth))
    return [
        SetMeasure(level, Rate(int(held[rows, truth].sum()), len(truth)), float(held.sum(axis=1).mean()))
        for level, held in zip(levels, inside, strict=True)
    ]


def _calibrated(scores: NDArray[np.float64]) -> Calibration:
    return Calibration(nonconformity=tuple(np.sort(scores).tolist()), abstain_below=0.0, coverage=1.0)
