"""The measurements behind the gates, each made once, and the curves of accuracy against epsilon."""

from collections.abc import Callable, Sequence

import numpy as np

from holdfast.attacks.adaptive import LOSSES, TAUS, AdaptiveAttack
from holdfast.attacks.noise import NoiseAttack
from holdfast.bundle.threat_model import Norm, ThreatModel
from holdfast.evaluation.balls import slug
from holdfast.evaluation.context import answers_of
from holdfast.evaluation.report.results import Curve, CurvePoint, Gate, Measured, ThreatResult
from holdfast.evaluation.run import Run
from holdfast.evaluation.sanity import checks as gates
from holdfast.evaluation.sanity import measures
from holdfast.evaluation.settings import Settings
from holdfast.evaluation.suites import GRADIENT
from holdfast.intervals import Rate

EPSILONS: dict[Norm, tuple[float, ...]] = {
    "linf": tuple(levels / 255 for levels in (0, 1, 2, 4, 6, 8, 12, 16, 24, 32)),
    "l2": (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0),
}
CROWD = 1000
"""Forward passes that one planted case costs before it is attacked."""


def expected(settings: Settings, images: int) -> dict[str, float]:
    """Forward passes of each measurement at most, by its name."""
    looked_at = min(images, settings.curve_images)

    def attacked(attack: AdaptiveAttack) -> float:
        return looked_at * len(attack.losses) * attack.steps * attack.restarts * GRADIENT

    costs: dict[str, float] = {}
    for norm, attack in _curves(settings):
        costs |= {_point(norm, attack, epsilon): attacked(attack) for epsilon in EPSILONS[norm]}
    a_case = CROWD + len(LOSSES) * settings.probing_attack.steps * GRADIENT
    return costs | {
        "gate-vanishing": len(TAUS) * images * GRADIENT,
        "gate-rounding": images * GRADIENT,
        "gate-agreement": (len(TAUS) + 2) * images,
        "gate-repeats": 5 * looked_at,
        "gate-huge": attacked(settings.probing_attack),
        "gate-plants": settings.plants * a_case,
        "gate-noise": settings.plants * CROWD,
    }


def curves(run: Run) -> tuple[Curve, Curve, Curve]:
    """Accuracy against epsilon: L-inf and L2 by many steps, then L-inf by a single one."""
    many, l2, one = (_curve(norm, attack, run) for norm, attack in _curves(run.settings))
    return many, l2, one


def verdicts(run: Run, threats: Sequence[ThreatResult], measured: tuple[Curve, Curve, Curve]) -> tuple[Gate, ...]:
    """Every gate.

    Args:
        run: under way.
        threats: what the ladders came to; the gates look at those of an attacker who knows the bank.
        measured: from `curves`.

    """
    many, l2, one = measured
    known = [threat for threat in threats if threat.knowledge == "bank known"]
    return (
        *_gradients(run),
        gates.white_box_is_strongest(known),
        *_plants(run),
        _huge(run),
        gates.monotone([many, l2]),
        gates.many_steps_beat_one(one, many),
        gates.more_steps_find_no_more(known),
        gates.more_restarts_find_no_more(known),
        _agreement(run),
        _repeats(run),
    )


def _curves(settings: Settings) -> tuple[tuple[Norm, AdaptiveAttack], ...]:
    return ("linf", settings.curve_attack), ("l2", settings.curve_attack), ("linf", settings.one_step_attack)


def _point(norm: Norm, attack: AdaptiveAttack, epsilon: float) -> str:
    return f"curve-{attack.steps}-steps-{slug(ThreatModel(norm, epsilon))}"


def _curve(norm: Norm, attack: AdaptiveAttack, run: Run) -> Curve:
    def measure(epsilon: float) -> Callable[[], Measured]:
        return lambda: Measured.of(_robust(run, _point(norm, attack, epsilon), ThreatModel(norm, epsilon), attack))

    points = [
        CurvePoint(epsilon=epsilon, robust=run.once(_point(norm, attack, epsilon), Measured, measure(epsilon)))
        for epsilon in EPSILONS[norm]
    ]
    run.say(f"accuracy measured at {len(points)} radii in {norm}, by PGD-{attack.steps}")
    return Curve(norm=norm, attack=str(attack), points=tuple(points))


def _robust(run: Run, name: str, threat: ThreatModel, attack: AdaptiveAttack) -> Rate:
    scene, some = run.scene, run.settings.curve_images
    return measures.robust(
        scene.victim,
        scene.images[:some],
        scene.labels[:some],
        threat,
        attack,
        seed=run.settings.seed,
        progress=run.progress,
        store=run.work.file(name),
        watch=lambda *_: run.rest(name),
    )


def _gradients(run: Run) -> tuple[Gate, Gate]:
    scene, seed = run.scene, run.settings.seed

    def vanishing() -> Gate:
        shares = {
            f"temperature {tau:g}": measures.zero_gradients(scene.victim, scene.images, scene.labels, tau) for tau in TAUS
        }
        return gates.no_vanishing_gradients(shares)

    def rounding() -> Gate:
        tau = scene.victim.surrogate.tau
        zero = measures.zero_gradients(scene.victim, scene.images, scene.labels, tau, between=True, seed=seed)
        return gates.rounding_passes_gradients(zero)

    return run.once("gate-vanishing", Gate, vanishing), run.once("gate-rounding", Gate, rounding)


def _plants(run: Run) -> tuple[Gate, Gate]:
    scene, settings = run.scene, run.settings
    images, threat = scene.images[: settings.plants], scene.bundle.manifest.threat_model.model()

    def found(attack: AdaptiveAttack | NoiseAttack) -> Rate:
        return measures.plants_found(scene.victim, images, threat, attack, seed=settings.seed, progress=run.progress)

    return (
        run.once("gate-plants", Gate, lambda: gates.plants_are_found(found(settings.probing_attack))),
        run.once("gate-noise", Gate, lambda: gates.noise_finds_no_plants(found(NoiseAttack()))),
    )


def _huge(run: Run) -> Gate:
    name, huge = "gate-huge", ThreatModel("linf", gates.HUGE)
    return run.once(name, Gate, lambda: gates.everything_falls(_robust(run, name, huge, run.settings.probing_attack)))


def _agreement(run: Run) -> Gate:
    scene = run.scene

    def measure() -> Gate:
        answers = answers_of(scene.classifier.classify, scene.images).labels
        taus = np.unique([*TAUS, scene.victim.surrogate.tau]).tolist()
        return gates.surrogate_agrees({tau: measures.agreement(scene.victim, scene.images, answers, tau) for tau in taus})

    return run.once("gate-agreement", Gate, measure)


def _repeats(run: Run) -> Gate:
    some = run.scene.images[: run.settings.curve_images]
    return run.once("gate-repeats", Gate, lambda: gates.answers_repeat(measures.differing(run.scene.victim, some)))
