"""What the served answers look like, clean and attacked: credibility, examples, embeddings."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.report import by_class, cloud, reliability, selective, validity
from holdfast.evaluation.report.gallery import choose, examples
from holdfast.evaluation.report.results import (
    AimedThreat,
    AttackResult,
    Bin,
    ClassResult,
    Cloud,
    Example,
    Measured,
    Selective,
    ValidityPoint,
)
from holdfast.evaluation.stages.aimed import AimedResult
from holdfast.evaluation.stages.threats import CaseResult
from holdfast.evaluation.victim import answers_of, certified
from holdfast.intervals import Rate
from holdfast.model.answers import Answers


class CredibilityResult(NamedTuple):
    """What credibility is worth.

    Attributes:
        clean: accuracy on the whole test set.
        answers: to the whole test set, clean.
        selective: error against coverage, clean and for every ball, under attacks that aim at credibility.
        aimed: what these attacks came to, and what abstention stops of it.
        reliability: accuracy by credibility, on the whole test set.
        validity: how often true labels and answers get small p-values, on the whole test set; empty without a calibration.
        classes: how each class fares, on the whole test set.

    """

    clean: Measured
    answers: Answers
    selective: tuple[Selective, ...]
    aimed: tuple[AimedThreat, ...]
    reliability: tuple[Bin, ...]
    validity: tuple[ValidityPoint, ...]
    classes: tuple[ClassResult, ...]


class Gallery(NamedTuple):
    """Attacked images for people to look at: some with their neighbours, and the embeddings of many."""

    examples: tuple[Example, ...]
    cloud: Cloud


def measure_credibility(context: EvaluationContext, aimed: Sequence[AimedResult]) -> CredibilityResult:
    """On the whole test set, clean; and on the images attacked in each of `aimed`."""
    test = context.splits.test
    answers = answers_of(certified(context.classifier), test.images)
    right = answers.labels == test.labels
    p_values = context.classifier.p_values(answers)
    exemplars = np.bincount(context.bundle.exemplars.labels, minlength=len(context.bundle.class_names))
    return CredibilityResult(
        clean=Measured.of(Rate(int(right.sum()), len(right))),
        answers=answers,
        selective=(
            Selective(name="clean", points=selective(answers.credibility, right), images=len(right)),
            *(_selective(each, answers.credibility[context.rows]) for each in aimed),
        ),
        aimed=tuple(_abstained(each, context) for each in aimed),
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


def _selective(found: AimedResult, clean: NDArray[np.float64]) -> Selective:
    """Of each image the wrong answer of the highest credibility, else the `clean` answer: float64 [N]."""
    outcome = found.outcome
    credibility = np.where(outcome.wrong, -outcome.suspicion, clean)
    points = selective(credibility, ~outcome.wrong)
    return Selective(name=str(found.plain.case.threat), points=points, attacker="aims at it", images=len(clean))


def _abstained(found: AimedResult, context: EvaluationContext) -> AimedThreat:
    outcome, plain = found.outcome, answers_of(context.classifier.classify, found.plain.outcome.adversarial)
    calibration = context.classifier.calibration
    threshold = 0.0 if calibration is None else calibration.abstain_below

    def share(which: NDArray[np.bool_]) -> Measured:
        return Measured.of(Rate(int(which.sum()), len(which)))

    return AimedThreat(
        threat=str(found.plain.case.threat),
        wrong=share(outcome.wrong),
        answered=share(outcome.wrong & (-outcome.suspicion >= threshold)),
        ignoring=share((plain.labels != context.labels) & ~plain.abstain),
        wrong_images=tuple(context.rows[outcome.wrong].tolist()),
        steps=tuple(map(AttackResult.of, found.tried)),
    )
