"""Which classes a vote can answer at all: k neighbours are many where a class has few exemplars.

A class of m exemplars has at most m of the k votes. Where the other k - m are of one class, as they are deep inside it, it
wins only by m w >= (k - m) w', w and w' the weights of the two classes; in a vote of exponential weights also by being
nearer, as every vote of it is multiplied by exp(lead / temperature), lead the similarity by which its exemplars are nearer:

    lead = temperature * log((k - m) w' / (m w))

A vote of equal weights knows no lead: a class of m <= k / 2 - 1 is out of reach there, however near its exemplars are.
"""

import math
from dataclasses import dataclass

import numpy as np

from holdfast.model.answers import Ints
from holdfast.model.vote import TIE, VoteParameters

FARTHEST_APART = 2.0
"""The largest difference of two cosine similarities."""


@dataclass(frozen=True, slots=True)
class ClassReach:
    """What one class needs in order to be answered.

    Attributes:
        label: of the class.
        exemplars: m.
        lead: the similarity by which its exemplars must be nearer than k - m neighbours of the other class that weighs most;
            0 where it wins by number or by a tie, infinite where it cannot.

    """

    label: int
    exemplars: int
    lead: float

    @property
    def out_of_reach(self) -> bool:
        """No lead is enough: it is not answered where the other neighbours are of one class."""
        return self.lead > FARTHEST_APART


def reach_of(counts: Ints, parameters: VoteParameters) -> tuple[ClassReach, ...]:
    """What each class needs in a vote.

    Args:
        counts: int64 [C], exemplars of each class.
        parameters: how neighbours vote.

    """
    counts = np.asarray(counts)
    weights = parameters.weights_of(len(counts))
    of_class = np.ones(len(counts)) if weights is None else weights
    return tuple(ClassReach(label, int(m), _lead(label, counts, of_class, parameters)) for label, m in enumerate(counts))


def _lead(label: int, counts: Ints, of_class: np.ndarray, parameters: VoteParameters) -> float:
    own = min(int(counts[label]), parameters.k)
    if own == 0:
        return math.inf
    others = np.minimum(np.delete(counts, label), parameters.k - own) * np.delete(of_class, label)
    against = float(others.max(initial=0))
    if against <= own * float(of_class[label]) * (1 + TIE):
        return 0.0
    if parameters.weighting == "uniform":
        return math.inf
    return parameters.temperature * math.log(against / (own * float(of_class[label])))
