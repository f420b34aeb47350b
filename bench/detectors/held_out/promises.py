"""Whether an alarm about unlike images is right: whether what a bundle promises of its p-values still holds of the traffic.

A bundle promises two things of images that come from where its calibration images do. Of at most a share `a` of them is the
p-value of the distance to the k-th neighbour `a` or less; and so is the p-value of the right label, which credibility is the
largest of. Traffic of which more have one is no longer what the bundle was calibrated for, and whoever says so is right:
`drift` of all traffic, `extraction-distribution` of one caller's, by that caller's own images. It is right about the images:
whether a thief asks them it does not know. Alarms of all other detectors are never right here.

The p-value of the right label is known of images of the bundle's own kind. An image of none of the classes has no right label
that a p-value could be of: it counts as one below all. Of an image that nobody has labelled, the largest p-value stands in, so
that the share is at least what is said.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from bench.detectors.benign import OF_NO_CLASS, BenignTraffic
from holdfast.intervals import wilson
from holdfast.model.answers import Answers
from holdfast.model.credibility import Calibration, p_values
from holdfast.server.monitor.detectors.distribution.drift import Drift
from holdfast.server.monitor.detectors.distribution.unlike import UnlikeImages

LEVELS = (0.01, 0.05, 0.1, 0.2)
STATED = 0.02
"""By how much the share may be above `a`."""

SURE = 0.95
LEAST_CALLERS = 10
"""Whose images chance makes independent. Of fewer nothing is said, and an alarm is a false one."""


@dataclass(frozen=True)
class PromiseCheck:
    """Of one kind of traffic, each different image once.

    Attributes:
        distance: shares of the images whose p-value of the distance is at most each of LEVELS.
        label: the same, of the right label's p-value; at least so many.
        broken: names of those of which the share is above the level by more than STATED, by the one-sided 95 % bound over
            callers, at any level.

    """

    distance: tuple[float, ...]
    label: tuple[float, ...]
    broken: tuple[str, ...]


class Promises:
    """Of one kind of traffic: its different images, each once, and their p-values.

    Args:
        traffic: of N images.
        answers: to these, of a bundle that has a calibration of credibility and of distances.
        calibration: the bundle's.

    """

    def __init__(self, traffic: BenignTraffic, answers: Answers, calibration: Calibration) -> None:
        first: dict[bytes, int] = {}
        for row, image in enumerate(traffic.images):
            first.setdefault(blake2b(image.tobytes(), digest_size=16).digest(), row)
        rows, levels = np.array(list(first.values())), np.array(LEVELS)
        self._names, self._callers = np.unique([traffic.callers[row] for row in rows.tolist()], return_inverse=True)
        self._below = {
            "distance": answers.kth_distance_p_value[rows, None] <= levels,
            "label": _of_right_label(traffic.labels_of(rows), answers, calibration, rows)[:, None] <= levels,
        }

    def check(self) -> PromiseCheck:
        """Of all callers together."""
        broken = tuple(
            name for name, below in self._below.items() if (_at_least(below, self._callers) > np.array(LEVELS) + STATED).any()
        )
        shares = {name: tuple(round(float(share), 4) for share in below.mean(axis=0)) for name, below in self._below.items()}
        return PromiseCheck(shares["distance"], shares["label"], broken)

    def is_right(self, detector: str, caller: str) -> bool:
        """Whether what a detector says is true: of `caller`, or of all where that is ""."""
        if detector == Drift.name:
            return bool(self.check().broken)
        if detector != UnlikeImages.name or caller not in self._names:
            return False
        own = self._below["distance"][self._callers == np.flatnonzero(self._names == caller)[0]]
        bounds = [wilson(int(below.sum()), len(below))[0] for below in own.T]
        return any(bound > level + STATED for bound, level in zip(bounds, LEVELS, strict=True))


def _of_right_label(
    labels: NDArray[np.int64], answers: Answers, calibration: Calibration, rows: NDArray[np.intp]
) -> NDArray[np.float64]:
    of_labels = p_values(answers.probabilities[rows].astype(np.float64), calibration)
    known = of_labels[np.arange(len(rows)), np.maximum(labels, 0)]
    found: NDArray[np.float64] = np.where(labels >= 0, known, of_labels.max(axis=1))
    return np.where(labels == OF_NO_CLASS, 0.0, found)


def _at_least(below: NDArray[np.bool_], callers: NDArray[np.intp]) -> NDArray[np.float64]:
    """The bound of the mean share of callers, by Student's t. Shape: [N, L], [N] -> [L]."""
    counts = np.bincount(callers)
    if len(counts) < LEAST_CALLERS:
        return np.zeros(below.shape[1])
    shares = np.stack([np.bincount(callers, column) for column in below.T.astype(np.float64)]) / counts
    error = shares.std(axis=1, ddof=1) / len(counts) ** 0.5
    bound: NDArray[np.float64] = shares.mean(axis=1) - t.ppf(SURE, len(counts) - 1) * error
    return bound
