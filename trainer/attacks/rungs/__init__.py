"""The losses that the adaptive attack climbs, one after the other. Each gives PGD something to maximise.

A new rung is a class here; which are climbed is the tuple that is handed to `AdaptiveAttack`, or the steps of a `Ladder`.
"""

from trainer.attacks.rungs.base import Loss, Rung
from trainer.attacks.rungs.controls import Counts, TopK
from trainer.attacks.rungs.heads import LinearHead, Prototypes
from trainer.attacks.rungs.neighbours import FeatureMatching, Guided, LatentDistance, SitawarinWagner
from trainer.attacks.rungs.soft import CrossEntropy, Margin, RelativeMargin, Targeted

__all__ = [
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
    "Rung",
    "SitawarinWagner",
    "Targeted",
    "TopK",
]
