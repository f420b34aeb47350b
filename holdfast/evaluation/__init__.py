"""How robust a bundle is: `python -m holdfast.evaluation BUNDLE`, or `evaluate` and `evaluate_fully` from Python."""

from holdfast.attacks.victim import served
from holdfast.evaluation.pipeline import evaluate, evaluate_fully, run_plan
from holdfast.evaluation.plan import EvaluationPlan, quick_plan
from holdfast.evaluation.recorded import record, recorded_splits, unseen_images
from holdfast.evaluation.result import Evaluation
from holdfast.evaluation.victim import victim_of

__all__ = [
    "Evaluation",
    "EvaluationPlan",
    "evaluate",
    "evaluate_fully",
    "quick_plan",
    "record",
    "recorded_splits",
    "run_plan",
    "served",
    "unseen_images",
    "victim_of",
]
