"""How robust a bundle is: `python -m trainer.evaluate BUNDLE`, or `evaluate` and `evaluate_fully` from Python."""

from trainer.evaluate.evaluation import Evaluation, evaluate, served, victim_of
from trainer.evaluate.full import Evaluated, evaluate_fully
from trainer.evaluate.recorded import record, recorded_splits, unseen_images
from trainer.evaluate.settings import Settings
from trainer.evaluate.telling import found_by

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
