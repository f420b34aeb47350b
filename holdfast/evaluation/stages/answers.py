"""What the served answers look like, clean and attacked: credibility, examples, embeddings."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.report import by_class, cloud, reliability, selective, validity
from holdfast.evaluation.report.gallery import choose, examples
from holdfast.evaluation.report.results import Bin, ClassResult, Cloud, Example, Measured, Selective, ValidityPoint
from holdfast.evaluation.stages.threats import CaseResult
from holdfast.evaluation.victim import answers_of
from holdfast.intervals import Rate


class CredibilityResult(NamedTuple):
    """What credibility is worth.

    Attributes:
        clean: accuracy on the whole test set.
        selective: error against coverage, clean and for every ball.
        reliability: accuracy by credibility, on the whole test set.
        validity: how often true labels and answers get small p-values, on the whole test set; empty without a calibration.
        classes: how each class fares, on the whole test set.

    """

    clean: Measured
    selective: tuple[Selective, ...]
    reliability: tuple[Bin, ...]
    validity: tuple[ValidityPoint, ...]
    classes: tuple[ClassResult, ...]


class Gallery(NamedTuple):
    """Attacked images for people to look at: some with their neighbours, and the embeddings of many."""

    examples: tuple[Example, ...]
    cloud: Cloud


def measure_credibility(context: EvaluationContext, known: Sequence[CaseResult]) -> CredibilityResult:
    """On the whole test set, clean; and on the images attacked in each of `known`."""
    test = context.splits.test
    answers = answers_of(context.classifier.classify, test.images)
    right = answers.labels == test.labels
    p_values = context.classifier.p_values(answers)
    exemplars = np.bincount(context.bundle.exemplars.labels, minlength=len(context.bundle.class_names))
    return CredibilityResult(
        clean=Measured.of(Rate(int(right.sum()), len(right))),
        selective=(
            Selective(name="clean", points=selective(answers.credibility, right)),
            *(_selective(each, context) for each in known),
        ),
        reliability=reliability(answers.credibility, right),
        validity=() if p_values is None else validity(p_values, test.labels, answers.labels),
        classes=by_class(answers, test.labels, exemplars),
    )


def gallery_of(context: EvaluationContext, shown: CaseResult) -> Gallery:
    """Of the images attacked in `shown`."""
    classify, threat = context.classifier.classify, shown.case.threat
    before, after = (answers_of(classify, images) for images in (context.images, shown.outcome.adversarial))
    chosen = choose(shown.outcome, context.labels)
    success = np.asarray(shown.outcome.success)
    return Gallery(
        examples(chosen, context, shown.outcome, (before, after), threat),
        cloud(before.embeddings, after.embeddings, context.labels, success, str(threat)),
    )


def _selective(case: CaseResult, context: EvaluationContext) -> Selective:
    answers = answers_of(context.classifier.classify, case.outcome.adversarial)
    points = selective(answers.credibility, answers.labels == context.labels)
    return Selective(name=f"{case.case.threat}", points=points)
