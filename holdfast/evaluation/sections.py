"""All sections of an evaluation, in their order, and what they will cost."""

from collections.abc import Sequence
from dataclasses import replace

from holdfast.console import Progress
from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.plan import EvaluationPlan, Section
from holdfast.evaluation.progress import ProgressEstimate
from holdfast.evaluation.result import Evaluation
from holdfast.evaluation.run import EvaluationRun
from holdfast.evaluation.sanity.measures import agreement
from holdfast.evaluation.stages.aimed import aim_at_credibility, aimed_costs
from holdfast.evaluation.stages.answers import gallery_of, measure_credibility
from holdfast.evaluation.stages.curves import curve_costs, measure_curves
from holdfast.evaluation.stages.detectors import detector_costs, measure_detectors
from holdfast.evaluation.stages.hardening import hardening_costs, measure_hardening
from holdfast.evaluation.stages.moved import answer_shifted, measure_shifts
from holdfast.evaluation.stages.ranking import measure_rankings
from holdfast.evaluation.stages.sanity import sanity_checks, sanity_costs
from holdfast.evaluation.stages.sets import measure_sets, set_costs
from holdfast.evaluation.stages.threats import CaseResult, ThreatCase, attack_all, balls_of
from holdfast.intervals import Rate


def estimate_of(
    cases: Sequence[ThreatCase], context: EvaluationContext, plan: EvaluationPlan, progress: Progress | None
) -> ProgressEstimate:
    """What all that is planned costs at most; shown on `progress` where there is more than one part of it."""
    images = len(context.rows)
    left = {case.name: case.cost * images for case in cases}
    costs = {Section.CURVES: curve_costs, Section.SANITY_CHECKS: sanity_costs, Section.DETECTORS: detector_costs}
    for section, costs_of in costs.items():
        if section in plan.sections:
            left |= costs_of(plan, images)
    left |= aimed_costs(plan, cases, images) | set_costs(plan, cases, images)
    if Section.HARDENING in plan.sections:
        left |= hardening_costs(plan, plan.hardening_balls or balls_of(plan, context), images)
    # The bar of a single attack says all there is to say.
    return ProgressEstimate(left, progress if len(left) > 1 else None)


def measure_all(run: EvaluationRun, cases: Sequence[ThreatCase]) -> Evaluation:
    """All sections that are planned."""
    return _with_answers(run, _attacked(run, cases))


def _attacked(run: EvaluationRun, cases: Sequence[ThreatCase]) -> Evaluation:
    """All that attacks, and what is judged of it."""
    context, sections = run.context, run.plan.sections
    # Quick measurements come before the suites: an encoder that is broken shows soon.
    curves = measure_curves(run) if Section.CURVES in sections else None
    results = attack_all(cases, run)
    threats = [each.result for each in results]
    checks = sanity_checks(run, threats, curves) if curves and Section.SANITY_CHECKS in sections else ()
    shown = _shown(_known(results) or results, context)
    aimed = aim_at_credibility(run, _known(results)) if Section.CREDIBILITY in sections else ()
    own_aimed = next((each for each in aimed if each.plain is shown), None)
    detectors = measure_detectors(run, shown, own_aimed) if Section.DETECTORS in sections else ()
    clean = shown.outcome.clean_labels
    return Evaluation(
        plan=run.plan,
        rows=context.rows,
        images=context.images,
        labels=context.labels,
        cases=results,
        shown=shown,
        own=next((each for each in _known(results) if each.case.threat == context.own_ball), None),
        served_on=context.bundle.placement,
        agreement=agreement(context.victim, context.images, clean) if Section.AGREEMENT in sections else Rate(0, 0),
        curves=(curves.linf, curves.l2) if curves else (),
        sanity_checks=checks,
        aimed=aimed,
        sets=measure_sets(run, aimed) if Section.SETS in sections else (),
        detectors=detectors,
        hardened=(
            measure_hardening(run, run.plan.hardening_balls or balls_of(run.plan, context))
            if Section.HARDENING in sections
            else None
        ),
    )


def _with_answers(run: EvaluationRun, evaluation: Evaluation) -> Evaluation:
    """What the served answers look like; computed by every slice that comes to the end, and by no other."""
    context, sections = run.context, run.plan.sections
    if Section.CREDIBILITY in sections:
        # The answers to the whole test set take a CPU half a minute.
        credibility = measure_credibility(context, evaluation.aimed)
        moved = answer_shifted(context)
        rankings = measure_rankings(context, evaluation.detectors, credibility.answers, moved)
        evaluation = replace(evaluation, credibility=credibility, rankings=rankings, shifts=measure_shifts(context, moved))
    elif Section.SHIFTS in sections:
        evaluation = replace(evaluation, shifts=measure_shifts(context, answer_shifted(context)))
    if Section.GALLERY in sections:
        examples, cloud = gallery_of(context, evaluation.shown)
        evaluation = replace(evaluation, examples=examples, cloud=cloud)
    return evaluation


def _known(results: Sequence[CaseResult]) -> list[CaseResult]:
    return [each for each in results if each.case.knowledge == "bank known"]


def _shown(results: Sequence[CaseResult], context: EvaluationContext) -> CaseResult:
    """The case that pictures are of: the bundle's own ball, else the largest of its norm, else the largest."""
    own = context.own_ball
    return max(
        reversed(results),
        key=lambda each: (each.case.threat == own, each.case.threat.norm == own.norm, each.result.epsilon),
    )
