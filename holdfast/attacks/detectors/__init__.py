"""Detectors, and the attack on them: a detector counts for what it is worth against an attacker who knows of it.

Detectors that catch the attacks they were made for fall to those that carry the detector in their loss (Carlini & Wagner,
"Adversarial Examples Are Not Easily Detected", arXiv 1705.07263). So each detector here has two sides: what the server sees
of an answer, and a differentiable penalty that stands in for it.
"""

from holdfast.attacks.detectors.detector import CREDIBILITY, Detector, Penalty, SoftNeighbours, detectors_of, threshold_at
from holdfast.attacks.detectors.evasion import (
    TAUS,
    WEIGHTS,
    AttackedSet,
    DetectorAware,
    Evasion,
    EvasionAttack,
    evasion,
    guarded,
)

__all__ = [
    "CREDIBILITY",
    "TAUS",
    "WEIGHTS",
    "AttackedSet",
    "Detector",
    "DetectorAware",
    "Evasion",
    "EvasionAttack",
    "Penalty",
    "SoftNeighbours",
    "detectors_of",
    "evasion",
    "guarded",
    "threshold_at",
]
