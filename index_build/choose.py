"""Choosing how neighbours vote, on images held out of index and training.

Accuracy is half of it. An evaluation attacks a soft kNN in the vote's place, and one that answers otherwise says little about
the vote: so among the votes that the soft kNN of the same temperature agrees with, the most accurate one is taken.

Accurate means on clean images. A sharp vote, of a low temperature, wins there and is the more easily attacked (docs/tried.md):
measure both by python -m trainer.evaluate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.index import FlatIndex
from bundle.intervals import Rate
from bundle.surrogate import SoftKNN
from bundle.vote import VoteParameters, vote

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

KS = (15, 25, 50, 75, 100, 200, 400)
TEMPERATURES = (0.02, 0.03, 0.05, 0.07, 0.1)
AGREEMENT = 0.99
"""What the evaluation's gate asks for (python -m trainer.evaluate --full)."""

AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to vote, and how it fares on held-out images.

    Attributes:
        parameters: exponential weights, of this temperature.
        accuracy: images answered rightly.
        agreement: images on which the soft kNN over the whole bank, at the same temperature, gives the same answer.

    """

    parameters: VoteParameters
    accuracy: Rate
    agreement: Rate


def candidates(
    index: FlatIndex, exemplar_labels: Labels, embeddings: Floats, labels: Labels, classes: int
) -> tuple[Candidate, ...]:
    """Try every k and temperature that the index is large enough for.

    Args:
        index: the exemplars, their ids being 0..M-1.
        exemplar_labels: int64 [M].
        embeddings: float32 [N, D], of the held-out images.
        labels: int64 [N], their true classes.
        classes: number of classes.

    """
    ks = [k for k in KS if k <= index.size] or [index.size]
    found = index.search(embeddings, ks[-1])
    neighbours = exemplar_labels[found.ids]
    bank, _ = index.vectors()
    tried = []
    for temperature in TEMPERATURES:
        soft = _soft_answers(SoftKNN(bank, exemplar_labels, classes, temperature), embeddings)
        for k in ks:
            parameters = VoteParameters(k=k, weighting="exponential", temperature=temperature)
            answers = vote(found.similarities[:, :k], neighbours[:, :k], classes, parameters).labels
            right, same = int((answers == labels).sum()), int((answers == soft).sum())
            tried.append(Candidate(parameters, Rate(right, len(labels)), Rate(same, len(labels))))
    return tuple(tried)


def choose(tried: Sequence[Candidate]) -> Candidate:
    """The most accurate of those with enough agreement; the one of the most agreement where none has enough.

    Ties go to more agreement, then to fewer neighbours.
    """
    enough = [each for each in tried if each.agreement.value >= AGREEMENT]
    if not enough:
        return max(tried, key=lambda each: (each.agreement.successes, each.accuracy.successes))
    return max(enough, key=lambda each: (each.accuracy.successes, each.agreement.successes, -each.parameters.k))


def _soft_answers(surrogate: SoftKNN, embeddings: Floats) -> Labels:
    parts = [surrogate.log_scores(embeddings[i : i + AT_ONCE]).argmax(1) for i in range(0, len(embeddings), AT_ONCE)]
    return np.concatenate(parts).astype(np.int64)
