"""How the bundle's detectors fare: against attacks that ignore them, and against one who aims at each of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.attacks.detectors import CREDIBILITY, NAMES, Detector, detectors_of
from holdfast.errors import HoldfastError
from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.plan import EvaluationPlan
from holdfast.evaluation.report import auroc, detection_curve
from holdfast.evaluation.report.results import DetectorResult, Measured
from holdfast.evaluation.run import EvaluationRun
from holdfast.evaluation.stages.aimed import AimedResult, aim, aimed_cost
from holdfast.evaluation.stages.threats import CaseResult
from holdfast.evaluation.victim import answers_of, certified
from holdfast.intervals import Rate
from holdfast.model.answers import Answers


@dataclass(frozen=True, eq=False)
class AttackedDetector:
    """A detector, what one who aims at it found, and how it fared."""

    detector: Detector
    aimed: AimedResult
    result: DetectorResult


def detector_costs(plan: EvaluationPlan, images: int) -> dict[str, float]:
    """Forward passes at most, for each detector but credibility, which is aimed at elsewhere."""
    return {_journal(name): aimed_cost(plan, min(images, plan.curve_images)) for name in NAMES if name != CREDIBILITY}


def measure_detectors(
    run: EvaluationRun, plain: CaseResult, credibility: AimedResult | None = None
) -> tuple[AttackedDetector, ...]:
    """Every detector of the bundle, within one ball.

    Args:
        run: under way.
        plain: the ball, and what attacks that ignore all detectors found in it.
        credibility: what one who aims at credibility found in it, where there is a calibration.

    """
    context = run.context
    clean, truth = _unattacked(context)
    detectors = detectors_of(context.bundle, clean, truth, device=context.victim.device, classifier=context.classifier)
    found = {} if credibility is None else {CREDIBILITY: credibility}
    for detector in detectors:
        if detector.name != CREDIBILITY:
            begun = () if credibility is None else (credibility.outcome,)
            name, images = _journal(detector.name), run.plan.curve_images
            found[detector.name] = aim(run, name, detector, plain, images=images, begun=begun)
            run.print_line(f"{plain.case.threat}: {detector.name} aimed at")
    for name in NAMES:
        run.estimate.close(_journal(name))
    right = clean.labels == truth
    return tuple(
        AttackedDetector(each, found[each.name], _result(each, found[each.name], each.score(clean)[right], context))
        for each in detectors
        if each.name in found
    )


def _journal(name: str) -> str:
    return f"detector-{name.replace(' ', '-')}"


def _result(detector: Detector, found: AimedResult, usual: NDArray[np.float64], context: EvaluationContext) -> DetectorResult:
    classify, plain, aimed = certified(context.classifier), found.plain, found.outcome
    clean = answers_of(classify, context.images)
    right, success = clean.labels == context.labels, plain.outcome.success
    ignoring = detector.score(answers_of(classify, plain.outcome.adversarial))[success]
    aiming = aimed.suspicion[aimed.wrong]
    return DetectorResult(
        name=detector.name,
        false_positives=_share(detector.flagged(clean)[right]),
        detected=_share(ignoring > detector.threshold),
        evaded=_share(aimed.suspicion <= detector.threshold),
        threat=str(plain.case.threat),
        roc=detection_curve(usual, ignoring, aiming),
        auroc_ignoring=auroc(-usual, -ignoring),
        auroc_aiming=auroc(-usual, -aiming),
    )


def _share(which: NDArray[np.bool_]) -> Measured:
    return Measured.of(Rate(int(which.sum()), len(which)))


def _unattacked(context: EvaluationContext) -> tuple[Answers, NDArray[np.int64]]:
    """Answers to clean images, none of which is attacked, and their true classes."""
    clean, truth = answers_of(certified(context.classifier), context.spare.images), context.spare.labels
    if not (clean.labels == truth).any():
        raise HoldfastError("no image that is not attacked is answered rightly: detectors have nothing to be calibrated on")
    return clean, truth
