"""Prediction sets, calibrated on clean and on attacked images, against attacks that want the true label left out of them."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.aimed import LeastShare
from holdfast.data import LabelledImages
from holdfast.evaluation.plan import EvaluationPlan, Section
from holdfast.evaluation.report.results import Measured, PredictionSets, SetResult
from holdfast.evaluation.run import EvaluationRun
from holdfast.evaluation.sets import measured_sets, set_p_values
from holdfast.evaluation.stages.aimed import AimedResult, aimed_attack, search_all
from holdfast.evaluation.stages.threats import ThreatCase
from holdfast.evaluation.suites import GRADIENT
from holdfast.evaluation.victim import answers_of
from holdfast.model.preprocess import Pixels

ATTACKS = 2
CALIBRATION, TEST = "calibration", "test"


def set_costs(plan: EvaluationPlan, cases: Sequence[ThreatCase], images: int) -> dict[str, float]:
    """Forward passes at most, for each ball and part of the data."""
    if Section.SETS not in plan.sections:
        return {}
    known = [case for case in cases if case.knowledge == "bank known"]
    cost = min(images, plan.curve_images) * ATTACKS * plan.effort.steps * GRADIENT
    return {_journal(part, case): cost for case in known for part in (CALIBRATION, TEST)}


def measure_sets(run: EvaluationRun, aimed: Sequence[AimedResult]) -> tuple[PredictionSets, ...]:
    """In the ball of each of `aimed`; nothing where there are no calibration images."""
    return tuple(_within(run, each) for each in aimed) if len(run.context.splits.calibration) else ()


def _within(run: EvaluationRun, aimed: AimedResult) -> PredictionSets:
    context, some, case = run.context, run.plan.curve_images, aimed.plain.case
    held = context.splits.calibration
    held = held.take(range(min(some, len(held))))
    test = context.attacked.take(range(min(some, len(context.images))))
    worst = {name: _attacked(run, name, part, case) for name, part in ((CALIBRATION, held), (TEST, test))}
    references = {"clean": _shares(run, held.images), "attacked": _shares(run, worst[CALIBRATION])}
    conditions = {
        "clean": test.images,
        "attacked, least share of the true label": worst[TEST],
        "attacked, aimed at credibility": aimed.outcome.adversarial[: len(test)],
    }
    shares = {condition: _shares(run, images) for condition, images in conditions.items()}
    results: list[SetResult] = []
    for name, reference in references.items():
        for per_class in (False, True):
            calibration = f"{name} images{' of the class' if per_class else ''}"
            for condition, of in shares.items():
                p = set_p_values(of, reference, held.labels, per_class=per_class)
                results += _results(calibration, condition, p, test.labels)
    run.print_line(f"{case.threat}: prediction sets measured")
    return PredictionSets(threat=str(case.threat), calibrated_on=len(held), images=len(test), results=tuple(results))


def _attacked(run: EvaluationRun, name: str, part: LabelledImages, case: ThreatCase) -> Pixels:
    """Each image of a part as an attack left it that wants the least share of the true label."""
    context, journal = run.context, _journal(name, case)
    search = LeastShare(context.victim, part.images, part.labels, case.threat, context.classifier.classify)
    search_all(run, journal, aimed_attack(run).against_truth(), search)
    run.estimate.close(journal)
    return search.adversarial


def _shares(run: EvaluationRun, images: Pixels) -> NDArray[np.float64]:
    return answers_of(run.context.classifier.classify, images).probabilities.astype(np.float64)


def _results(calibration: str, condition: str, p: NDArray[np.float64], truth: NDArray[np.int64]) -> Iterable[SetResult]:
    return (
        SetResult(
            calibration=calibration,
            condition=condition,
            level=one.level,
            covered=Measured.of(one.covered),
            size=one.size,
        )
        for one in measured_sets(p, truth)
    )


def _journal(part: str, case: ThreatCase) -> str:
    return f"sets-{part}-{case.name}"
