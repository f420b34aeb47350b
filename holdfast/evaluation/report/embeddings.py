"""Embeddings in two dimensions, for the eye."""

import numpy as np
from numpy.typing import NDArray

from holdfast.evaluation.report.results import Cloud

POINTS = 600
"""More than that are no longer told apart, and make the page heavy."""

DECIMALS = 4

Floats = NDArray[np.floating]


def cloud(
    clean: Floats, attacked: Floats, labels: NDArray[np.int64], fooled: NDArray[np.bool_], threat: str, *, points: int = POINTS
) -> Cloud:
    """Clean and attacked embeddings on the first two principal components of the clean ones.

    The components are those of all N images; where there are more than `points`, evenly spaced ones are kept.

    Args:
        clean: float [N, D], N >= 1.
        attacked: float [N, D], of the same images.
        labels: int64 [N], their true classes.
        fooled: bool [N], whether the attack succeeded.
        threat: the ball, as text.
        points: how many are kept at most.

    Raises:
        ValueError: the shapes do not fit each other, or there is no image.

    """
    n = len(clean)
    if n == 0 or clean.ndim != 2 or attacked.shape != clean.shape or labels.shape != (n,) or fooled.shape != (n,):
        shapes = [list(array.shape) for array in (clean, attacked, labels, fooled)]
        raise ValueError(f"a cloud is of [N, D], [N, D], [N] and [N] with N >= 1, not of {shapes}")
    centre = clean.mean(axis=0, dtype=np.float64)
    components, explained = _components(clean - centre)
    kept = np.arange(n) if n <= points else np.linspace(0, n - 1, points).round().astype(np.int64)
    return Cloud(
        explained=explained,
        threat=threat,
        labels=tuple(labels[kept].tolist()),
        clean=_pairs((clean[kept] - centre) @ components.T),
        attacked=_pairs((attacked[kept] - centre) @ components.T),
        fooled=tuple(fooled[kept].tolist()),
    )


def _components(centred: Floats) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """The first two principal axes [2, D], zero where there are fewer, and their shares of the variance."""
    _, singular, axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    # An axis and its opposite are equally right; the one whose largest entry is positive is taken, always.
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    axes *= np.where(largest < 0, -1.0, 1.0)[:, np.newaxis]
    variance = singular**2
    shares = variance / max(variance.sum(), np.finfo(np.float64).tiny)
    two, first = np.zeros((2, centred.shape[1])), min(2, len(axes))
    two[:first] = axes[:first]
    padded = np.concatenate([shares, [0.0, 0.0]])
    return two, (float(padded[0]), float(padded[1]))


def _pairs(points: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points.round(DECIMALS))
