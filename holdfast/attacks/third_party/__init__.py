"""Attacks that others wrote, as parts of a suite: what an own attack misses, one of these may find.

They need the `eval` extra: pyautoattack (APGD, FAB, Square) and adversarial-robustness-toolbox (HopSkipJump). Nothing of
theirs is imported before it is used, so that the other attacks run without them.
"""

from holdfast.attacks.third_party.apgd import ApgdCE, ApgdTargeted
from holdfast.attacks.third_party.fab import FabTargeted
from holdfast.attacks.third_party.hop_skip import HopSkip
from holdfast.attacks.third_party.logits import SurrogateLogits
from holdfast.attacks.third_party.served import served_as_art_classifier
from holdfast.attacks.third_party.square import SquareScores

__all__ = [
    "ApgdCE",
    "ApgdTargeted",
    "FabTargeted",
    "HopSkip",
    "SquareScores",
    "SurrogateLogits",
    "served_as_art_classifier",
]
