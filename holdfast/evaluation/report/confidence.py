"""What is said about answers, and its worth: error against coverage, accuracy by credibility, validity, detection, ranking."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.detectors import threshold_at
from holdfast.evaluation.report.results import (
    Bin,
    ClassResult,
    Measured,
    RankingPoint,
    RocPoint,
    SelectivePoint,
    ValidityPoint,
)
from holdfast.intervals import Rate
from holdfast.model.answers import Answers, Ints

LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
ALARMS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Rates of false alarms at which a detector is looked at."""

POINTS = 100
"""Of a curve of a ranking, at most."""


def selective(credibility: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[SelectivePoint, ...]:
    """Error against coverage, when the images of the least credibility are kept back.

    Images of the same credibility are answered together or not at all: a threshold cannot tell them apart, so there is
    one point for each value that occurs, the least coverage first and coverage 1 last.

    Args:
        credibility: float64 [N] in (0, 1]; all NaN where the bundle is not calibrated, which gives no points.
        right: bool [N], whether the answer is right.

    Raises:
        ValueError: lengths that differ, credibility that is no p-value, or NaN for some images only.

    """
    if not _usable(credibility, right):
        return ()
    levels, where = np.unique(credibility, return_inverse=True)
    answered = np.bincount(where)[::-1].cumsum()
    wrong = np.bincount(where, weights=~right)[::-1].cumsum()
    return tuple(
        SelectivePoint(coverage=float(n) / len(right), error=float(w) / float(n), credibility=float(level))
        for level, n, w in zip(levels[::-1], answered, wrong, strict=True)
    )


def reliability(credibility: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10) -> tuple[Bin, ...]:
    """Accuracy among images of like credibility, in `bins` intervals (low, high] of equal width over (0, 1].

    Args:
        credibility: float64 [N] in (0, 1]; all NaN where the bundle is not calibrated, which gives no bins.
        right: bool [N], whether the answer is right.
        bins: how many; those that no image falls into are there, with no trials.

    Raises:
        ValueError: as `selective`.

    """
    if not _usable(credibility, right):
        return ()
    edges = [i / bins for i in range(bins + 1)]
    number = np.searchsorted(edges, credibility, side="left") - 1
    images = np.bincount(number, minlength=bins)
    rights = np.bincount(number, weights=right, minlength=bins)
    return tuple(
        Bin(low=edges[i], high=edges[i + 1], accuracy=Measured.of(Rate(int(rights[i]), int(images[i])))) for i in range(bins)
    )


def validity(
    p_values: NDArray[np.float64], labels: Ints, answered: Ints, levels: Sequence[float] = LEVELS
) -> tuple[ValidityPoint, ...]:
    """How often true labels and answers get a p-value of at most each level.

    Args:
        p_values: float64 [N, C] in (0, 1], as `Classifier.p_values` has them.
        labels: int64 [N], the true classes.
        answered: int64 [N], the answers.
        levels: each in (0, 1).

    """
    rows = np.arange(len(labels))
    true, own = p_values[rows, labels], p_values[rows, answered]
    return tuple(
        ValidityPoint(level=level, true_labels=_share(true <= level), answers=_share(own <= level)) for level in levels
    )


def detection_curve(
    usual: NDArray[np.float64], ignoring: NDArray[np.float64], aiming: NDArray[np.float64]
) -> tuple[RocPoint, ...]:
    """What a detector flags of attackers' wrong answers, at thresholds of several rates of false alarms.

    Args:
        usual: float64 [n], n >= 1, its scores of clean answers that are right; the larger, the more suspicious.
        ignoring: float64 [m], of wrong answers of an attacker who ignores it.
        aiming: float64 [l], of wrong answers of one who aims at it.

    """
    points = []
    for rate in ALARMS:
        threshold = threshold_at(rate, usual)
        shares = [float((scores > threshold).mean()) if len(scores) else None for scores in (ignoring, aiming)]
        points.append(RocPoint(false_alarms=rate, ignoring=shares[0], aiming=shares[1]))
    return (*points, RocPoint(false_alarms=1.0, ignoring=1.0 if len(ignoring) else None, aiming=1.0 if len(aiming) else None))


def auroc(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> float | None:
    """The chance that a right answer is trusted more than a wrong one, half of it where both are trusted alike.

    Args:
        right: float64 [n], how much each right answer is trusted.
        wrong: float64 [m], likewise the wrong ones.

    Returns:
        In [0, 1]; None where n or m is 0.

    """
    if not len(right) or not len(wrong):
        return None
    ordered = np.sort(wrong)
    below, not_above = (np.searchsorted(ordered, right, side=side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(wrong)))


def ranked(trust: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[RankingPoint, ...]:
    """Error against coverage, when the answers that are trusted least are kept back; at most `POINTS` points and the last.

    Answers that are trusted alike are given together or not at all.

    Args:
        trust: float64 [N], not NaN.
        right: bool [N].

    """
    levels, where = np.unique(trust, return_inverse=True)
    answered = np.bincount(where)[::-1].cumsum()
    wrong = np.bincount(where, weights=~right)[::-1].cumsum()
    chosen = np.unique(np.linspace(0, len(levels) - 1, min(len(levels), POINTS)).round().astype(int))
    return tuple(
        RankingPoint(coverage=float(answered[i]) / len(right), error=float(wrong[i]) / float(answered[i])) for i in chosen
    )


def by_class(answers: Answers, labels: Ints, exemplars: Ints) -> tuple[ClassResult, ...]:
    """Accuracy and coverage of each class.

    Args:
        answers: to N clean images.
        labels: int64 [N], their true classes.
        exemplars: int64 [C], how many exemplars each class has.

    """
    right, kept = answers.labels == labels, ~answers.abstain
    return tuple(
        ClassResult(
            label=label,
            exemplars=int(count),
            accuracy=_share(right[labels == label]),
            coverage=_share(kept[labels == label]),
            precise=_share(right[kept & (answers.labels == label)]),
        )
        for label, count in enumerate(exemplars)
    )


def _share(which: NDArray[np.bool_]) -> Measured:
    return Measured.of(Rate(int(which.sum()), len(which)))


def _usable(credibility: NDArray[np.float64], right: NDArray[np.bool_]) -> bool:
    if credibility.shape != right.shape or credibility.ndim != 1:
        raise ValueError(f"one credibility for each answer, not {list(credibility.shape)} for {list(right.shape)}")
    if np.isnan(credibility).all():
        return False
    if not ((credibility > 0) & (credibility <= 1)).all():
        raise ValueError("credibility is a p-value in (0, 1], for every image or for none")
    return True
