"""Attacks that aim at what is said about answers: at credibility within every ball, and at each detector within one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.attacks.aimed import AimedAttack, AimedOutcome, LeastSuspicious
from holdfast.attacks.aimed.attack import MOST_ATTACKS
from holdfast.attacks.aimed.search import BestFound
from holdfast.attacks.detectors import CREDIBILITY, Detector, credibility_of
from holdfast.attacks.search.journal import Tried
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.search.worst_case import NAME
from holdfast.evaluation.plan import EvaluationPlan, Section
from holdfast.evaluation.run import EvaluationRun
from holdfast.evaluation.stages.threats import CaseResult, ThreatCase
from holdfast.evaluation.suites import GRADIENT
from holdfast.evaluation.victim import certified


@dataclass(frozen=True, eq=False)
class AimedResult:
    """What came of aiming at one detector within one ball.

    Attributes:
        plain: the case whose attacks ignore the detector; its candidates were the first.
        outcome: per image, of the first of those that were attacked.
        tried: how many images each attack found the best wrong answer for.

    """

    plain: CaseResult
    outcome: AimedOutcome
    tried: tuple[Tried, ...]


def aimed_costs(plan: EvaluationPlan, cases: Sequence[ThreatCase], images: int) -> dict[str, float]:
    """Forward passes of aiming at credibility at most, for each ball."""
    if Section.CREDIBILITY not in plan.sections:
        return {}
    known = (case for case in cases if case.knowledge == "bank known")
    return {_name(case): aimed_cost(plan, images) for case in known}


def aimed_cost(plan: EvaluationPlan, images: int) -> float:
    """Forward passes of aiming at one detector within one ball at most."""
    return images * MOST_ATTACKS * plan.effort.steps * GRADIENT


def aim_at_credibility(run: EvaluationRun, known: Sequence[CaseResult]) -> tuple[AimedResult, ...]:
    """Within the ball of each of `known`, the smaller ones of a norm first; nothing where there is no calibration.

    What was found within a ball is handed on to the next larger one.
    """
    credibility = credibility_of(run.context.bundle, run.context.victim.device)
    done: list[AimedResult] = []
    for plain in known:
        name = _name(plain.case)
        if credibility is not None:
            smaller = [each.outcome for each in done if plain.case.extends(each.plain.case)]
            found = aim(run, name, credibility, plain, begun=smaller[-1:])
            done.append(found)
            run.print_line(f"{plain.case.threat}: wrong answers for {int(found.outcome.wrong.sum())}, as credible as may be")
        run.estimate.close(name)
    return tuple(done)


def aim(
    run: EvaluationRun,
    name: str,
    detector: Detector,
    plain: CaseResult,
    *,
    images: int | None = None,
    begun: Sequence[AimedOutcome] = (),
) -> AimedResult:
    """Attack the first `images` (all by default) of those of `plain` for the wrong answer that `detector` suspects least.

    Args:
        run: under way.
        name: of the journal and of the part of the estimate.
        detector: what is aimed at.
        plain: the ball, and what attacks that ignore the detector found: the first candidates.
        images: how many.
        begun: what was found of them by aiming at credibility, in this ball or a smaller one: candidates, too.

    """
    context, victim = run.context, run.context.victim
    some = slice(images)
    clean, labels = context.images[some], context.labels[some]
    classify = certified(context.classifier)
    search = LeastSuspicious(victim, clean, labels, plain.case.threat, classify=classify, detector=detector)
    search.inherit(np.array(plain.outcome.found_by[some], dtype=NAME), plain.outcome.adversarial[some])
    for earlier in begun:
        search.inherit(np.array(earlier.found_by[some], dtype=NAME), earlier.adversarial[some])
    suite = aimed_attack(run).suite(detector, begun=bool(begun) and detector.name != CREDIBILITY)
    tried = search_all(run, name, suite, search)
    return AimedResult(plain, search.aimed_outcome(), tried)


def aimed_attack(run: EvaluationRun) -> AimedAttack:
    """As strong as the plan says."""
    effort = run.plan.effort
    return AimedAttack(run.context.bundle.manifest.surrogate_tau, effort.steps, effort.batch_size)


def search_all(run: EvaluationRun, name: str, suite: AttackSuite, search: BestFound) -> tuple[Tried, ...]:
    """Run a suite whose attacks all try all images, and tell the estimate; its journal is `name`."""

    def watch(number: int, done: int, waiting: int) -> None:
        each = run.plan.effort.steps * GRADIENT
        run.estimate.spend(name, each * done, each * (waiting + (len(suite.attacks) - number - 1) * len(search.rows)))
        run.check_deadline(name)

    return suite.run(search, seed=run.plan.seed, progress=run.progress, store=run.cache.file(name), watch=watch)


def _name(case: ThreatCase) -> str:
    return f"aimed-{case.name}"
