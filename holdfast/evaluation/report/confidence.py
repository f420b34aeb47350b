"""What credibility is worth: error against coverage, and accuracy by credibility."""

import numpy as np
from numpy.typing import NDArray

from holdfast.evaluation.report.results import Bin, Measured, SelectivePoint
from holdfast.intervals import Rate


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


def _usable(credibility: NDArray[np.float64], right: NDArray[np.bool_]) -> bool:
    if credibility.shape != right.shape or credibility.ndim != 1:
        raise ValueError(f"one credibility for each answer, not {list(credibility.shape)} for {list(right.shape)}")
    if np.isnan(credibility).all():
        return False
    if not ((credibility > 0) & (credibility <= 1)).all():
        raise ValueError("credibility is a p-value in (0, 1], for every image or for none")
    return True
