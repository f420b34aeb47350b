"""Alarms, and the attack on them: an alarm counts for what it is worth against an attacker who knows of it.

Detectors that catch the attacks they were made for fall to those that carry the detector in their loss (Carlini & Wagner,
"Adversarial Examples Are Not Easily Detected", arXiv 1705.07263). So each alarm here has two sides: what the server sees
of an answer, and a differentiable penalty that stands in for it.
"""

from holdfast.attacks.detectors.detector import Alarm, Penalty, Scores, SoftNeighbours, alarms_of, threshold_at
from holdfast.attacks.detectors.evasion import TAUS, WEIGHTS, AlarmAware, Answer, Evasion, evasion, guarded

__all__ = [
    "TAUS",
    "WEIGHTS",
    "Alarm",
    "AlarmAware",
    "Answer",
    "Evasion",
    "Penalty",
    "Scores",
    "SoftNeighbours",
    "alarms_of",
    "evasion",
    "guarded",
    "threshold_at",
]
