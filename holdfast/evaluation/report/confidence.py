"""What credibility is worth: error against coverage, accuracy by credibility, validity; and how each class fares."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.evaluation.report.results import Bin, ClassResult, Measured, SelectivePoint, ValidityPoint
from holdfast.intervals import Rate
from holdfast.model.answers import Answers, Ints

LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


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
