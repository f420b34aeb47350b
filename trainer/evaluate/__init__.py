"""How robust a bundle is: `python -m trainer.evaluate BUNDLE`, or `evaluate` from Python."""

from trainer.evaluate.cli import found_by, record, unseen_images
from trainer.evaluate.evaluation import Evaluation, evaluate, served, victim_of

__all__ = ["Evaluation", "evaluate", "found_by", "record", "served", "unseen_images", "victim_of"]
