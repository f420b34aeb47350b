"""The sanity checks of an evaluation, each measured once."""

from collections.abc import Sequence

import numpy as np

from holdfast.attacks.adaptive import LOSSES, TAUS, AdaptiveAttack
from holdfast.attacks.noise import NoiseAttack
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation.plan import EvaluationPlan
from holdfast.evaluation.report.results import SanityCheck, ThreatResult
from holdfast.evaluation.run import EvaluationRun
from holdfast.evaluation.sanity import checks, measures
from holdfast.evaluation.stages.curves import AccuracyCurves, attack_cost, robust_rate
from holdfast.evaluation.suites import GRADIENT
from holdfast.evaluation.victim import answers_of
from holdfast.intervals import Rate

CROWD = 1000
"""Forward passes that one planted case costs before it is attacked."""


def sanity_costs(plan: EvaluationPlan, images: int) -> dict[str, float]:
    """Forward passes of each measurement at most, by its name."""
    looked_at = min(images, plan.curve_images)
    a_case = CROWD + len(LOSSES) * plan.probe_steps * GRADIENT
    return {
        "sanity-vanishing": len(TAUS) * images * GRADIENT,
        "sanity-rounding": images * GRADIENT,
        "sanity-agreement": (len(TAUS) + 2) * images,
        "sanity-repeats": 5 * looked_at,
        "sanity-huge": attack_cost(plan.probing_attack, looked_at),
        "sanity-plants": plan.plants * a_case,
        "sanity-noise": plan.plants * CROWD,
    }


def sanity_checks(run: EvaluationRun, threats: Sequence[ThreatResult], curves: AccuracyCurves) -> tuple[SanityCheck, ...]:
    """Every check.

    Args:
        run: under way.
        threats: what the suites came to; judged are those of an attacker who knows the bank.
        curves: accuracy against epsilon.

    """
    known = [threat for threat in threats if threat.knowledge == "bank known"]
    return (
        *_gradients(run),
        checks.white_box_is_strongest(known),
        *_plants(run),
        _huge(run),
        checks.monotone([curves.linf, curves.l2]),
        checks.many_steps_beat_one(curves.one_step, curves.linf),
        checks.more_steps_find_no_more(known),
        checks.more_restarts_find_no_more(known),
        _agreement(run),
        _repeats(run),
    )


def _gradients(run: EvaluationRun) -> tuple[SanityCheck, SanityCheck]:
    context, seed = run.context, run.plan.seed

    def vanishing() -> SanityCheck:
        shares = {
            f"temperature {tau:g}": measures.zero_gradients(context.victim, context.images, context.labels, tau) for tau in TAUS
        }
        return checks.no_vanishing_gradients(shares)

    def rounding() -> SanityCheck:
        tau = context.victim.surrogate.tau
        zero = measures.zero_gradients(context.victim, context.images, context.labels, tau, between=True, seed=seed)
        return checks.rounding_passes_gradients(zero)

    return run.once("sanity-vanishing", SanityCheck, vanishing), run.once("sanity-rounding", SanityCheck, rounding)


def _plants(run: EvaluationRun) -> tuple[SanityCheck, SanityCheck]:
    context, plan = run.context, run.plan
    images, threat = context.images[: plan.plants], context.own_ball

    def found(attack: AdaptiveAttack | NoiseAttack) -> Rate:
        return measures.plants_found(context.victim, images, threat, attack, seed=plan.seed, progress=run.progress)

    return (
        run.once("sanity-plants", SanityCheck, lambda: checks.plants_are_found(found(plan.probing_attack))),
        run.once("sanity-noise", SanityCheck, lambda: checks.noise_finds_no_plants(found(NoiseAttack()))),
    )


def _huge(run: EvaluationRun) -> SanityCheck:
    name, huge = "sanity-huge", ThreatModel("linf", checks.HUGE)
    return run.once(name, SanityCheck, lambda: checks.everything_falls(robust_rate(run, name, huge, run.plan.probing_attack)))


def _agreement(run: EvaluationRun) -> SanityCheck:
    context = run.context

    def measure() -> SanityCheck:
        answers = answers_of(context.classifier.classify, context.images).labels
        taus = np.unique([*TAUS, context.victim.surrogate.tau]).tolist()
        return checks.surrogate_agrees({tau: measures.agreement(context.victim, context.images, answers, tau) for tau in taus})

    return run.once("sanity-agreement", SanityCheck, measure)


def _repeats(run: EvaluationRun) -> SanityCheck:
    some = run.context.images[: run.plan.curve_images]
    return run.once("sanity-repeats", SanityCheck, lambda: checks.answers_repeat(measures.differing(run.context.victim, some)))
