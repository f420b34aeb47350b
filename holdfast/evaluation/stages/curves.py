"""Accuracy against epsilon, every point measured by itself."""

from collections.abc import Callable
from typing import NamedTuple

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.bundle.threat_model import Norm, ThreatModel
from holdfast.evaluation.plan import EvaluationPlan, slug
from holdfast.evaluation.report.results import Curve, CurvePoint, Measured
from holdfast.evaluation.run import EvaluationRun
from holdfast.evaluation.sanity import measures
from holdfast.evaluation.suites import GRADIENT
from holdfast.intervals import Rate

EPSILONS: dict[Norm, tuple[float, ...]] = {
    "linf": tuple(levels / 255 for levels in (0, 1, 2, 4, 6, 8, 12, 16, 24, 32)),
    "l2": (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0),
}


class AccuracyCurves(NamedTuple):
    """L-inf and L2 under an attack of many gradients; L-inf under one of a single gradient."""

    linf: Curve
    l2: Curve
    one_step: Curve


def curve_costs(plan: EvaluationPlan, images: int) -> dict[str, float]:
    """Forward passes of each point at most, by its name."""
    return {
        _point(norm, attack, epsilon): attack_cost(attack, min(images, plan.curve_images))
        for norm, attack in _attacks(plan)
        for epsilon in EPSILONS[norm]
    }


def attack_cost(attack: AdaptiveAttack, images: int) -> float:
    """Forward passes of an attack on so many images at most."""
    return images * len(attack.losses) * attack.steps * attack.restarts * GRADIENT


def measure_curves(run: EvaluationRun) -> AccuracyCurves:
    """Every curve, on the first `curve_images` of the attacked images."""
    return AccuracyCurves(*(_curve(norm, attack, run) for norm, attack in _attacks(run.plan)))


def robust_rate(run: EvaluationRun, name: str, threat: ThreatModel, attack: AdaptiveAttack) -> Rate:
    """Images answered rightly, clean and under `attack`; its journal is `name`."""
    context, some = run.context, run.plan.curve_images
    stands = measures.standing(
        context.victim,
        context.images[:some],
        context.labels[:some],
        threat,
        attack,
        seed=run.plan.seed,
        progress=run.progress,
        store=run.cache.file(name),
        watch=lambda *_: run.check_deadline(name),
    )
    return Rate(int(stands.sum()), len(stands))


def _attacks(plan: EvaluationPlan) -> tuple[tuple[Norm, AdaptiveAttack], ...]:
    return ("linf", plan.curve_attack), ("l2", plan.curve_attack), ("linf", plan.one_step_attack)


def _point(norm: Norm, attack: AdaptiveAttack, epsilon: float) -> str:
    return f"curve-{attack.steps}-steps-{slug(ThreatModel(norm, epsilon))}"


def _curve(norm: Norm, attack: AdaptiveAttack, run: EvaluationRun) -> Curve:
    def measure(epsilon: float) -> Callable[[], Measured]:
        return lambda: Measured.of(robust_rate(run, _point(norm, attack, epsilon), ThreatModel(norm, epsilon), attack))

    points = [
        CurvePoint(epsilon=epsilon, robust=run.once(_point(norm, attack, epsilon), Measured, measure(epsilon)))
        for epsilon in EPSILONS[norm]
    ]
    run.print_line(f"accuracy measured at {len(points)} radii in {norm}, by PGD-{attack.steps}")
    return Curve(norm=norm, attack=str(attack), points=tuple(points))
