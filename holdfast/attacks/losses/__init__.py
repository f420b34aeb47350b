"""The losses that the adaptive attack climbs, one after the other. Each gives PGD something to maximise.

A new rung is a class here; which are climbed is the tuple that is handed to `AdaptiveAttack`, or the steps of a `Ladder`.
"""

from holdfast.attacks.losses.base import AttackLoss, Loss
from holdfast.attacks.losses.controls import Counts, TopK
from holdfast.attacks.losses.heads import LinearHead, Prototypes
from holdfast.attacks.losses.neighbours import FeatureMatching, Guided, LatentDistance, SitawarinWagner
from holdfast.attacks.losses.soft import CrossEntropy, Margin, RelativeMargin, Targeted

__all__ = [
    "AttackLoss",
    "Counts",
    "CrossEntropy",
    "FeatureMatching",
    "Guided",
    "LatentDistance",
    "LinearHead",
    "Loss",
    "Margin",
    "Prototypes",
    "RelativeMargin",
    "SitawarinWagner",
    "Targeted",
    "TopK",
]
