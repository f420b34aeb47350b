"""Whether the neighbours of new exemplars say otherwise: one reason a row, "" where they do not."""

from collections.abc import Sequence

import numpy as np

from holdfast.model.answers import Ints, Neighbours
from holdfast.model.credibility import p_values
from holdfast.model.retrieval.base import SPARE, canonical
from holdfast.model.vote import vote
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.store.judging.geometry import ClassGeometry, unit
from holdfast.server.store.records import JudgedRows


def by_vote(rows: JudgedRows, snapshot: ModelSnapshot, doubt: float, lately: Ints) -> list[str]:
    """Those of classes with as many exemplars as there are voters, where another label wins and this one's p-value is small.

    Args:
        rows: their labels are classes of the snapshot. Those that are in its index already do not vote for themselves.
        snapshot: what is served.
        doubt: the largest p-value that is small. Where votes were not calibrated, a label is doubtful that gets less than half
            of the share of the one that wins.
        lately: int64 [m], ids of rows that came lately and that nobody approved. They do not vote either: a poison would make
            way for the next one.

    """
    if not len(rows):
        return []
    parameters, names = snapshot.description.vote, snapshot.description.class_names
    wanted = parameters.k + SPARE + min(len(lately), parameters.k)
    found = snapshot.classifier.retriever.search(rows.embeddings, wanted)
    neighbours = canonical(_without(found, rows.ids, lately), parameters.k)
    outcome = vote(neighbours.similarities, neighbours.labels, len(names), parameters)
    each = np.arange(len(rows))
    own, winner = outcome.shares[each, rows.labels], outcome.labels
    calibration = snapshot.classifier.calibration
    if calibration is None:
        doubtful = outcome.shares[each, winner] > 2 * own
    else:
        doubtful = p_values(outcome.shares, calibration)[each, rows.labels] <= doubt
    doubtful &= winner != rows.labels
    return [
        f"its neighbours vote for {names[other]}, and {share:.0%} of them for {names[label]}" if held else ""
        for held, other, label, share in zip(
            doubtful.tolist(), winner.tolist(), rows.labels.tolist(), own.tolist(), strict=True
        )
    ]


def by_prototypes(rows: JudgedRows, geometry: ClassGeometry, names: Sequence[str]) -> list[str]:
    """Those of classes that are new or small, where another class's mean is nearer than that of its own, its batch included.

    The first of a class has no company. It is doubtful where it is as near to another class's mean as is typical there.
    """
    if not len(rows):
        return []
    to_means = rows.embeddings @ unit(geometry.sums).T
    to_means[:, geometry.counts == 0] = -np.inf
    reasons = []
    for row, label in enumerate(rows.labels.tolist()):
        others = to_means[row].copy()
        others[label : label + 1] = -np.inf
        nearest = int(others.argmax())
        mates = rows.labels == label
        before = geometry.sum_of(label) if rows.served[row] else 0.0
        company = before + rows.embeddings[mates].sum(axis=0) - rows.embeddings[row]
        if rows.served[row] + mates.sum() > 1:
            doubtful = rows.embeddings[row] @ unit(company) < others[nearest]
            said = "it is nearer to the mean of {} than to that of its own class, which is new or small"
        else:
            doubtful = bool((others >= geometry.typical).any())
            said = "it is the first of its class, and lies as exemplars of {} do: add several at once, or approve it"
        reasons.append(said.format(names[nearest] if nearest < len(names) else "another new class") if doubtful else "")
    return reasons


def _without(neighbours: Neighbours, own: Ints, others: Ints) -> Neighbours:
    """Each row's neighbours without its own id and some others, the same width; what is missing comes last."""
    itself = (neighbours.ids == own[:, np.newaxis]) | np.isin(neighbours.ids, others)
    if not itself.any():
        return neighbours
    order = np.argsort(itself, axis=1, kind="stable")
    return Neighbours(
        np.take_along_axis(np.where(itself, -1, neighbours.ids), order, axis=1),
        np.take_along_axis(np.where(itself, -1, neighbours.labels), order, axis=1),
        np.take_along_axis(np.where(itself, np.float32(-np.inf), neighbours.similarities), order, axis=1),
    )
