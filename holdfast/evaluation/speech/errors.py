"""Errors of verification: the equal error rate and the least detection cost, of weighted trials."""

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Weights = NDArray[np.floating]
TARGET_PRIOR = 0.05
"""Of the detection cost: one trial in twenty is of the same speaker; a miss costs as much as a false alarm."""


def error_curves(
    targets: Scores, others: Scores, target_weights: Weights | None = None, other_weights: Weights | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Misses and false alarms at every threshold: float64 [K] each, from the lowest threshold to beyond the highest score.

    A trial is accepted where its score is at least the threshold.

    Args:
        targets: scores of trials of one speaker, float [n].
        others: scores of trials of two speakers, float [m].
        target_weights: of each, float [n]; by default all 1.
        other_weights: likewise, float [m].

    """
    order, last = ranks(targets, others)
    target = np.ones(len(targets)) if target_weights is None else np.asarray(target_weights)
    other = np.ones(len(others)) if other_weights is None else np.asarray(other_weights)
    ranked = np.concatenate([target, np.zeros(len(others))])[order], np.concatenate([np.zeros(len(targets)), other])[order]
    return ranked_curves(*ranked, last)


def ranks(targets: Scores, others: Scores) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Trials in order of their scores, the lowest first.

    Returns:
        (order int64 [n + m] of all trials, those of one speaker counted first; bool [n + m], whether the next one in that order
        has a higher score).

    """
    scores = np.concatenate([targets, others])
    order = np.argsort(scores, kind="stable")
    return order, np.append(np.diff(scores[order]) > 0, True)  # equal scores are accepted together


def ranked_curves(
    target: NDArray[np.float64], other: NDArray[np.float64], last: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`error_curves` of trials that are in order already: weights float64 [n + m], 0 for trials of the other kind."""
    misses = np.concatenate([[0.0], np.cumsum(target)[last]]) / max(target.sum(), 1e-12)
    rejected = np.concatenate([[0.0], np.cumsum(other)[last]]) / max(other.sum(), 1e-12)
    return misses, 1 - rejected


def equal_error_rate(
    targets: Scores, others: Scores, target_weights: Weights | None = None, other_weights: Weights | None = None
) -> float:
    """The rate at which misses and false alarms are equal, between two thresholds where there is none of that rate: 0 to 1.

    Arguments as of `error_curves`.
    """
    return crossing(*error_curves(targets, others, target_weights, other_weights))


def crossing(misses: NDArray[np.float64], alarms: NDArray[np.float64]) -> float:
    """The rate at which the two curves of errors cross, between thresholds by a straight line."""
    place = int(np.argmax(misses >= alarms))
    if place == 0:
        return float(misses[0])
    before, after = alarms[place - 1] - misses[place - 1], misses[place] - alarms[place]
    share = before / (before + after) if before + after > 0 else 0.0
    return float(misses[place - 1] + share * (misses[place] - misses[place - 1]))


def least_cost(
    targets: Scores, others: Scores, target_weights: Weights | None = None, other_weights: Weights | None = None
) -> float:
    """The detection cost at the best threshold, over what it costs to answer without listening: 0 to 1.

    Arguments as of `error_curves`; the prior of the target is TARGET_PRIOR.
    """
    misses, alarms = error_curves(targets, others, target_weights, other_weights)
    costs = TARGET_PRIOR * misses + (1 - TARGET_PRIOR) * alarms
    return float(costs.min() / min(TARGET_PRIOR, 1 - TARGET_PRIOR))
