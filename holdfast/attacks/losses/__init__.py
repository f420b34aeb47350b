"""What PGD may maximise to fool a victim: one family of losses a file, and the table of them.

A new loss is a class in a file of this folder and a line below. Which of them an attack runs is listed where the attack is:
`holdfast.attacks.adaptive.LOSSES` for the adaptive attack, holdfast/evaluation/suites.py for `--full`.
"""

from holdfast.attacks.losses.base import AttackLoss, Loss
from holdfast.attacks.losses.cells import ProbedMargin, gap_losses
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
    "ProbedMargin",
    "Prototypes",
    "RelativeMargin",
    "SitawarinWagner",
    "Targeted",
    "TopK",
    "gap_losses",
]
