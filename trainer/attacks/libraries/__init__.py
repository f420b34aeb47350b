"""Attacks that others wrote, as steps of the ladder: what an own attack misses, one of these may find.

They need the `eval` extra: pyautoattack (APGD, FAB, Square) and adversarial-robustness-toolbox (HopSkipJump). Nothing of
theirs is imported before it is used, so that the ladder's own attacks run without them.
"""

from trainer.attacks.libraries.apgd import ApgdCE, ApgdTargeted
from trainer.attacks.libraries.fab import FabTargeted
from trainer.attacks.libraries.hop_skip import HopSkip
from trainer.attacks.libraries.logits import SurrogateLogits
from trainer.attacks.libraries.served import served_as_art_classifier
from trainer.attacks.libraries.square import SquareScores

__all__ = [
    "ApgdCE",
    "ApgdTargeted",
    "FabTargeted",
    "HopSkip",
    "SquareScores",
    "SurrogateLogits",
    "served_as_art_classifier",
]
