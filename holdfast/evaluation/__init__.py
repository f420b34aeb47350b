"""How robust a bundle is: `python -m holdfast.evaluation BUNDLE`, or `evaluate` and `evaluate_fully` from Python."""

from holdfast.evaluation.console import found_by
from holdfast.evaluation.full import Evaluated, evaluate_fully
from holdfast.evaluation.quick import Evaluation, evaluate, served, victim_of
from holdfast.evaluation.recorded import record, recorded_splits, unseen_images
from holdfast.evaluation.settings import Settings

__all__ = [
    "Evaluated",
    "Evaluation",
    "Settings",
    "evaluate",
    "evaluate_fully",
    "found_by",
    "record",
    "recorded_splits",
    "served",
    "unseen_images",
    "victim_of",
]
