"""Who is none of the classes: the threshold on the distance to the k-th neighbour at the equal error rate.

Each calibration image stands for two trials. In one its class is known: the distance is that to the k-th nearest of all
exemplars. In the other nobody of its class is enrolled: exemplars of its own class are left out. At the threshold as many of
the known are turned away as of the unknown are let in. It is the operating point of those trials, and says nothing of images
that were attacked, or of classes that are nearer to each other than these.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.model.answers import Floats, Ints, Neighbours
from holdfast.model.judgement.distance import DECIMALS, FARTHEST, kth_distance
from holdfast.model.retrieval.base import Exportable, Retriever, nearest

AT_ONCE = 2**22
"""Neighbours looked at together."""

MOST_SOUGHT = 2**18
"""Neighbours of one image: k, and as many more as there may be of its own class."""


class OperatingPoint(NamedTuple):
    """Where two kinds of error are as near to each other as the trials allow.

    Attributes:
        threshold: distances above it are of unknowns.
        error: the mean of the two errors there, 0 to 1.

    """

    threshold: float
    error: float


def equal_error(known: NDArray[np.floating], unknown: NDArray[np.floating]) -> OperatingPoint:
    """The operating point of trials float [n] and [m], at least one each; the smaller distance is the more alike."""
    thresholds = np.unique(np.concatenate([known, unknown]))
    turned_away = 1 - np.searchsorted(np.sort(known), thresholds, side="right") / len(known)
    let_in = np.searchsorted(np.sort(unknown), thresholds, side="right") / len(unknown)
    best = int(np.argmin(np.abs(turned_away - let_in)))
    following = thresholds[min(best + 1, len(thresholds) - 1)]
    between = (float(thresholds[best]) + float(following)) / 2
    return OperatingPoint(between, float(turned_away[best] + let_in[best]) / 2)


def unknown_threshold(retriever: Retriever, embeddings: Floats, labels: Ints, k: int) -> OperatingPoint | None:
    """The operating point of an index.

    Args:
        retriever: the exemplars.
        embeddings: float32 [n, D], L2-normalised, of images held out of training and index.
        labels: int64 [n], their true labels.
        k: neighbours that vote.

    Returns:
        None where there is no image, or the index does not hand out its exemplars and has more than MOST_SOUGHT.

    """
    wide = retriever.size
    if isinstance(retriever, Exportable):
        wide = min(wide, k + int(np.bincount(retriever.export().labels).max(initial=0)))
    if wide > MOST_SOUGHT or not len(labels):
        return None
    known, unknown = [], []
    for start in range(0, len(labels), block := max(1, AT_ONCE // wide)):
        found = nearest(retriever, embeddings[start : start + block], wide)
        known.append(kth_distance(_first(found, k)))
        unknown.append(kth_distance(_first(_without(found, labels[start : start + block]), k)))
    point = equal_error(np.concatenate(known), np.concatenate(unknown))
    return OperatingPoint(min(round(point.threshold, DECIMALS), FARTHEST), point.error)


def _first(found: Neighbours, k: int) -> Neighbours:
    return Neighbours(found.ids[:, :k], found.labels[:, :k], found.similarities[:, :k])


def _without(found: Neighbours, labels: Ints) -> Neighbours:
    """Neighbours of other labels, in their order; what is left at the end of a row is nobody."""
    own = (found.labels == labels[:, None]) | (found.ids < 0)
    order = np.argsort(own, axis=1, kind="stable")
    gone = np.take_along_axis(own, order, axis=1)
    columns = [np.take_along_axis(each, order, axis=1) for each in (found.ids, found.labels, found.similarities)]
    return Neighbours(*(np.where(gone, none, each) for each, none in zip(columns, (-1, -1, -np.inf), strict=True)))
