"""How the bundle's alarms fare against an attacker who knows of them."""

from functools import partial

from holdfast.attacks.detectors import TAUS, WEIGHTS, AttackedSet, Detector, EvasionAttack, detectors_of, evasion
from holdfast.attacks.losses import SitawarinWagner
from holdfast.errors import HoldfastError
from holdfast.evaluation.context import EvaluationContext, answers_of
from holdfast.evaluation.report.results import AlarmResult, Measured
from holdfast.evaluation.run import Run
from holdfast.evaluation.settings import PROBE_STEPS, Settings
from holdfast.evaluation.suites import GRADIENT
from holdfast.evaluation.threats import Hunted
from holdfast.model.answers import Answers

MOST = 4
"""Alarms that a bundle can have."""


def expected(settings: Settings, images: int) -> dict[str, float]:
    """Forward passes at most, for each alarm."""
    climbs = 1 + len(WEIGHTS) * len(TAUS)
    return {_part(number): images * climbs * steps_of(settings) * GRADIENT for number in range(MOST)}


def steps_of(settings: Settings) -> int:
    """Gradients of each climb."""
    return min(PROBE_STEPS, settings.effort.steps)


def alarm_results(run: Run, plain: Hunted) -> tuple[AlarmResult, ...]:
    """Every alarm of the bundle, within the ball of `plain`, whose ladder ignored them."""
    scene = run.scene
    device = scene.victim.device
    clean = _thresholds_from(scene)
    alarms = detectors_of(scene.bundle, clean, scene.spare.labels, device=device, classifier=scene.classifier)
    results = [run.once(_part(n), AlarmResult, partial(_measure, n, alarm, run, plain)) for n, alarm in enumerate(alarms)]
    for absent in range(len(alarms), MOST):
        run.outlook.close(_part(absent))
    return tuple(results)


def _part(number: int) -> str:
    return f"alarm-{number + 1}"


def _measure(number: int, alarm: Detector, run: Run, plain: Hunted) -> AlarmResult:
    scene, settings = run.scene, run.settings
    k = scene.bundle.manifest.vote.k
    evaded = evasion(
        alarm,
        scene.victim,
        scene.classifier.classify,
        AttackedSet(scene.images, scene.labels, plain.part.threat, plain.outcome),
        EvasionAttack(
            also=(SitawarinWagner(k, number=2 * k),), steps=steps_of(settings), batch_size=settings.effort.batch_size
        ),
        seed=settings.seed,
        progress=run.progress,
        store=run.work.file(_part(number)),
        watch=lambda *_: run.rest(_part(number)),
    )
    return AlarmResult(
        name=evaded.name,
        false_positives=Measured.of(evaded.false_positives),
        detected=Measured.of(evaded.detected),
        evaded=Measured.of(evaded.evaded),
        threat=evaded.threat,
    )


def _thresholds_from(scene: EvaluationContext) -> Answers:
    clean = answers_of(scene.classifier.classify, scene.spare.images)
    if not (clean.labels == scene.spare.labels).any():
        raise HoldfastError("no image that is not attacked is answered rightly: alarms have nothing to be calibrated on")
    return clean
