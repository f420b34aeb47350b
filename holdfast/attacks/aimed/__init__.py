"""Attacks that know what is said about an answer, and want a wrong one that is believed.

Detectors that catch the attacks they were made for fall to those that carry the detector in their loss (Carlini & Wagner,
"Adversarial Examples Are Not Easily Detected", arXiv 1705.07263). So a detector, credibility among them, counts for what it is
worth against an attacker who aims at it, and keeps aiming where another would stop at the first wrong answer.
"""

from holdfast.attacks.aimed.attack import AimedAttack
from holdfast.attacks.aimed.aware import DetectorAware
from holdfast.attacks.aimed.losses import LogOdds
from holdfast.attacks.aimed.search import AimedOutcome, Classify, LeastShare, LeastSuspicious

__all__ = ["AimedAttack", "AimedOutcome", "Classify", "DetectorAware", "LeastShare", "LeastSuspicious", "LogOdds"]
