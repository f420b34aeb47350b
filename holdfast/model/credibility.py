"""Conformal credibility of a kNN vote: Papernot and McDaniel, "Deep k-Nearest Neighbors", arXiv 1803.04765.

The nonconformity of label j for image x is the number of its k neighbours whose label is not j. With the nonconformity of
the true labels of n calibration images, held out of training and index,

    p_j(x) = (1 + #{calibration >= alpha(x, j)}) / (n + 1),

a valid p-value: a true label gets p <= e with probability at most e. Credibility is the largest p, confidence is one minus
the second largest.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator


class Calibration(BaseModel):
    """Nonconformity of held-out images, and the credibility below which the server abstains.

    `coverage` is the fraction of the calibration images that is answered at the threshold `abstain_below`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    nonconformity: tuple[int, ...] = Field(min_length=1)
    abstain_below: float = Field(ge=0, le=1)
    coverage: float = Field(ge=0, le=1)

    @field_validator("nonconformity")
    @classmethod
    def _ascending(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if any(a > b for a, b in pairwise(values)):
            raise ValueError("nonconformity must be sorted, the smallest first")
        return values


def calibrate(counts: NDArray[np.int64], labels: NDArray[np.int64], k: int, coverage: float = 0.95) -> Calibration:
    """Calibrate on images held out of the index and of training.

    Args:
        counts: int64 [n, C], votes of each calibration image's k neighbours.
        labels: int64 [n], the true labels.
        k: neighbours asked to vote; one that an approximate index did not find counts as one of another label.
        coverage: the least fraction of calibration images to be answered, in (0, 1].

    """
    if len(labels) == 0:
        raise ValueError("calibration needs at least one held-out image")
    nonconformity = np.sort(k - counts[np.arange(len(labels)), labels])
    open_threshold = Calibration(nonconformity=tuple(nonconformity.tolist()), abstain_below=0.0, coverage=1.0)
    own, _ = credibility(counts, open_threshold, k)
    # The largest threshold that still answers the wanted share; ties are answered, so the true coverage may be higher.
    threshold = float(np.quantile(own, 1 - coverage, method="lower"))
    covered = float((own >= threshold).mean())
    return Calibration(nonconformity=open_threshold.nonconformity, abstain_below=threshold, coverage=covered)


def credibility(counts: NDArray[np.int64], calibration: Calibration, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Credibility and confidence of each image.

    Args:
        counts: int64 [N, C], votes of the k neighbours.
        calibration: from `calibrate`, with the same k.
        k: neighbours asked to vote, as in `calibrate`.

    Returns:
        (credibility [N] in (0, 1], confidence [N] in [0, 1)).

    """
    alpha = k - counts
    reference = np.asarray(calibration.nonconformity)
    at_least = len(reference) - np.searchsorted(reference, alpha, side="left")
    p = np.sort((1 + at_least) / (len(reference) + 1), axis=1)
    second = p[:, -2] if p.shape[1] > 1 else np.zeros(len(p))
    return p[:, -1], 1 - second
