"""How the bundle's detectors fare against an attacker who knows of them."""

from functools import partial

from holdfast.attacks.detectors import TAUS, WEIGHTS, AttackedSet, Detector, EvasionAttack, detectors_of, evasion
from holdfast.attacks.losses import SitawarinWagner
from holdfast.errors import HoldfastError
from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.plan import EvaluationPlan
from holdfast.evaluation.report.results import DetectorResult, Measured
from holdfast.evaluation.run import EvaluationRun
from holdfast.evaluation.stages.threats import CaseResult
from holdfast.evaluation.suites import GRADIENT
from holdfast.evaluation.victim import answers_of
from holdfast.model.answers import Answers

MOST = 4
"""Detectors that a bundle can have."""


def detector_costs(plan: EvaluationPlan, images: int) -> dict[str, float]:
    """Forward passes at most, for each detector."""
    attacks = 1 + len(WEIGHTS) * len(TAUS)
    return {_name(number): images * attacks * plan.probe_steps * GRADIENT for number in range(MOST)}


def measure_detectors(run: EvaluationRun, plain: CaseResult) -> tuple[DetectorResult, ...]:
    """Every detector of the bundle, within the ball of `plain`, whose attacks ignored them."""
    context = run.context
    clean = _calibration_answers(context)
    detectors = detectors_of(
        context.bundle, clean, context.spare.labels, device=context.victim.device, classifier=context.classifier
    )
    results = [
        run.once(_name(number), DetectorResult, partial(_measure, number, detector, run, plain))
        for number, detector in enumerate(detectors)
    ]
    for absent in range(len(detectors), MOST):
        run.estimate.close(_name(absent))
    return tuple(results)


def _name(number: int) -> str:
    return f"detector-{number + 1}"


def _measure(number: int, detector: Detector, run: EvaluationRun, plain: CaseResult) -> DetectorResult:
    context, plan = run.context, run.plan
    k = context.bundle.manifest.vote.k
    evaded = evasion(
        detector,
        context.victim,
        context.classifier.classify,
        AttackedSet(context.images, context.labels, plain.case.threat, plain.outcome),
        EvasionAttack(also=(SitawarinWagner(k, number=2 * k),), steps=plan.probe_steps, batch_size=plan.effort.batch_size),
        seed=plan.seed,
        progress=run.progress,
        store=run.cache.file(_name(number)),
        watch=lambda *_: run.check_deadline(_name(number)),
    )
    return DetectorResult(
        name=evaded.name,
        false_positives=Measured.of(evaded.false_positives),
        detected=Measured.of(evaded.detected),
        evaded=Measured.of(evaded.evaded),
        threat=evaded.threat,
    )


def _calibration_answers(context: EvaluationContext) -> Answers:
    clean = answers_of(context.classifier.classify, context.spare.images)
    if not (clean.labels == context.spare.labels).any():
        raise HoldfastError("no image that is not attacked is answered rightly: detectors have nothing to be calibrated on")
    return clean
