"""Detectors, each with two sides: what the server sees of an answer, and a differentiable penalty that stands in for it.

What they are worth is measured by `holdfast.attacks.aimed`.
"""

from holdfast.attacks.detectors.classifier import DOUBT, RESPONSE
from holdfast.attacks.detectors.detector import Detector, Penalty, SoftNeighbours, threshold_at
from holdfast.attacks.detectors.served import CREDIBILITY, NAMES, credibility_of, detectors_of

__all__ = [
    "CREDIBILITY",
    "DOUBT",
    "NAMES",
    "RESPONSE",
    "Detector",
    "Penalty",
    "SoftNeighbours",
    "credibility_of",
    "detectors_of",
    "threshold_at",
]
