"""How unusual an image is, by the distance to its k-th neighbour (Sun et al., arXiv 2204.06507), as a p-value.

    p(x) = (1 + #{calibration distance >= that of x}) / (n + 1)

With n calibration images that are held out of training and index, p <= a has a probability of at most a for an image that comes
from where these come from. So whoever calls images of p <= a out of distribution is wrong about at most a share a of those that
are not: that is the stated error. It does not promise to find those that are, and says nothing of images that were attacked: an
attacker moves an image's neighbours nearer, too.
"""

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats, Neighbours

DECIMALS = 5
"""Of a distance, where it is calibrated and where it is compared: as many as similarities are rounded to."""

FARTHEST = 2.0
"""The largest cosine distance that there is."""


def kth_distance(neighbours: Neighbours) -> Floats:
    """Cosine distance to the last neighbour that was found: float32 [N]; FARTHEST where none was."""
    distances: Floats = 1 - neighbours.similarities[:, -1]
    fewer = np.flatnonzero(neighbours.ids[:, -1] < 0)
    if len(fewer):
        distances[fewer] = (1 - neighbours.similarities[fewer]).max(axis=1, where=neighbours.ids[fewer] >= 0, initial=-np.inf)
        distances[neighbours.ids[:, 0] < 0] = FARTHEST
    return distances


def calibration_distances(distances: Floats) -> tuple[float, ...]:
    """What a calibration keeps of float32 [n] distances of held-out images: rounded, the smallest first."""
    return tuple(np.round(np.sort(distances.astype(np.float64)), DECIMALS).tolist())


def distance_p_values(distances: Floats, calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """The p-value of each distance: float64 [N] in (0, 1]; NaN where there is no calibration.

    Args:
        distances: float32 [N], cosine distances to the k-th neighbour.
        calibration: float64 [n], those of held-out images, as `calibration_distances` has them.

    """
    if not len(calibration):
        return np.full(len(distances), np.nan)
    rounded = np.round(distances.astype(np.float64), DECIMALS)
    at_least = len(calibration) - np.searchsorted(calibration, rounded, side="left")
    p: NDArray[np.float64] = (1 + at_least) / (len(calibration) + 1)
    return p


def is_unknown(distances: Floats, unknown_above: float) -> NDArray[np.bool_]:
    """Whether each of float32 [N] distances is above a threshold: bool [N]; see `holdfast.model.judgement.open_set`."""
    beyond: NDArray[np.bool_] = np.round(distances.astype(np.float64), DECIMALS) > unknown_above
    return beyond
