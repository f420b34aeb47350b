"""The attacks, within every ball and with every knowledge; what was done already is not done again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.attacks.attack import Attack
from holdfast.attacks.losses import gap_losses
from holdfast.attacks.search.journal import Tried
from holdfast.attacks.search.worst_case import NAME, AttackOutcome, WorstCase, WorstCaseAttack
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation import suites
from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.plan import EvaluationPlan, Knowledge, slug
from holdfast.evaluation.report.results import AttackResult, Measured, ThreatResult
from holdfast.evaluation.run import EvaluationRun
from holdfast.evaluation.suites import GRADIENT, CostedAttack, CostedSuite, SuiteOptions
from holdfast.intervals import Rate
from holdfast.model.answers import Ints

ANOTHER_SEED = 1_000_003


@dataclass(frozen=True)
class ThreatCase:
    """One ball, one attacker, and what that attacker tries.

    Attributes:
        threat: the ball.
        knowledge: of the attacker.
        attack: a suite, or one attack that cannot be interrupted.
        again_cost: forward passes an image costs in the strongest attacks tried again afterwards; 0 for none.

    """

    threat: ThreatModel
    knowledge: Knowledge
    attack: CostedSuite | WorstCaseAttack
    again_cost: float = 0.0

    @property
    def name(self) -> str:
        """Of its journal: "linf-0.0313725-bank-known"."""
        return f"{slug(self.threat)}-{self.knowledge.replace(' ', '-')}"

    @property
    def cost(self) -> float:
        """Forward passes for an image that survives to the end; 0 where nothing is known of it."""
        return (suites.suite_cost(self.attack) if isinstance(self.attack, tuple) else 0.0) + self.again_cost

    def extends(self, smaller: "ThreatCase") -> bool:
        """Whether what fools within the ball of `smaller` may be tried here, where that ball is no larger."""
        return (self.threat.norm, self.knowledge) == (smaller.threat.norm, smaller.knowledge)


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What came of a case: per image, and as the report keeps it."""

    case: ThreatCase
    outcome: AttackOutcome
    result: ThreatResult


def balls_of(plan: EvaluationPlan, context: EvaluationContext) -> tuple[ThreatModel, ...]:
    """The balls of a plan; the bundle's own where it names none."""
    return plan.balls or (context.own_ball,)


def cases_of(plan: EvaluationPlan, context: EvaluationContext, transfers: Sequence[Attack] = ()) -> tuple[ThreatCase, ...]:
    """What is to be attacked, in this order."""
    balls = balls_of(plan, context)
    if plan.attack is not None:
        attack = _costed(plan.attack) if isinstance(plan.attack, AdaptiveAttack) else plan.attack
        return tuple(ThreatCase(ball, "bank known", attack) for ball in balls)
    manifest = context.bundle.manifest
    options = SuiteOptions(
        plan.effort,
        context.classes,
        manifest.vote.k,
        manifest.surrogate_tau,
        tuple(transfers),
        gap_losses(context.bundle.index),
    )
    tables = {"bank known": suites.BANK_KNOWN, "bank unknown": suites.BANK_UNKNOWN}
    again = {"bank known": suites.strongest_again_cost(plan.effort), "bank unknown": 0.0}
    return tuple(
        ThreatCase(ball, knowledge, suites.costed_suite(tables[knowledge], options), again[knowledge])
        for knowledge in plan.knowledge
        for ball in balls
    )


def _costed(attack: AdaptiveAttack) -> CostedSuite:
    """Its attacks by themselves: what is a suite can be interrupted, and takes over what fooled within a smaller ball."""
    return tuple(CostedAttack(each, attack.steps * GRADIENT) for each in attack.suite.attacks)


def attack_all(cases: Sequence[ThreatCase], run: EvaluationRun) -> tuple[CaseResult, ...]:
    """Attack every case. What fooled within a ball is handed on to the next larger one of its norm and knowledge."""
    done: list[CaseResult] = []
    for case in cases:
        smaller = [each for each in done if case.extends(each.case)]
        found = _attack(case, smaller[-1].outcome if smaller else None, run)
        done.append(found)
        run.estimate.close(case.name)
        for later in cases[len(done) :]:
            if later.extends(case):
                run.estimate.expect(later.name, later.cost * found.result.robust.successes)
        run.print_line(f"{case.threat}, {case.knowledge}: robust {found.result.robust.rate}")
    return tuple(done)


def _attack(case: ThreatCase, smaller: AttackOutcome | None, run: EvaluationRun) -> CaseResult:
    context = run.context
    victim = context.victim if case.knowledge == "bank known" else context.without_bank
    if not isinstance(case.attack, tuple):
        outcome = case.attack(victim, context.images, context.labels, case.threat, seed=run.plan.seed, progress=run.progress)
        run.check_deadline(case.name)
        return CaseResult(case, outcome, threat_result(case.threat, case.knowledge, context.labels, outcome, rows=context.rows))
    worst_case = WorstCase(victim, context.images, context.labels, case.threat)
    clean = worst_case.survivors
    if smaller is not None:
        worst_case.inherit(np.array(smaller.found_by, dtype=NAME), smaller.adversarial)
    inherited = clean - worst_case.survivors
    tried = _search(case, case.attack, worst_case, run)
    if case.again_cost:
        again = suites.strongest_again(case.attack, tried, run.plan.effort.restarts)
        tried += _search(case, again, worst_case, run, again=True)
    outcome = worst_case.outcome()
    result = threat_result(
        case.threat, case.knowledge, context.labels, outcome, rows=context.rows, inherited=inherited, tried=tried
    )
    return CaseResult(case, outcome, result)


def threat_result(
    threat: ThreatModel,
    knowledge: Knowledge,
    labels: Ints,
    outcome: AttackOutcome,
    *,
    rows: Ints,
    inherited: int = 0,
    tried: Sequence[Tried] = (),
) -> ThreatResult:
    """What the report keeps of attacks within one ball on images of the classes `labels`, int64 [N].

    `rows`, int64 [N], are those of the images in the test set; `inherited` and `tried` as in `ThreatResult`.
    """
    right = outcome.clean_labels == labels
    stands = right & ~outcome.success
    images, clean, robust = len(right), int(right.sum()), int(stands.sum())
    return ThreatResult(
        norm=threat.norm,
        epsilon=threat.epsilon,
        knowledge=knowledge,
        clean=Measured.of(Rate(clean, images)),
        robust=Measured.of(Rate(robust, images)),
        dsr=Measured.of(Rate(robust, clean)),
        inherited=inherited,
        wrong_images=tuple(rows[~stands].tolist()),
        steps=tuple(map(AttackResult.of, tried)),
    )


def _search(
    case: ThreatCase, suite: CostedSuite, worst_case: WorstCase, run: EvaluationRun, *, again: bool = False
) -> tuple[Tried, ...]:
    plan, afterwards = run.plan, 0.0 if again else case.again_cost

    def watch(number: int, images: int, waiting: int) -> None:
        # What is spent; and, by what survives now, what is left at most.
        after = suites.suite_cost(suite[number + 1 :]) + afterwards
        each = suite[number].cost
        run.estimate.spend(case.name, each * images, each * waiting + after * worst_case.survivors)
        run.check_deadline(case.name)

    return suites.attack_suite(suite, plan.effort.batch_size).run(
        worst_case,
        seed=plan.seed + (ANOTHER_SEED if again else 0),
        progress=run.progress,
        store=run.cache.file(case.name + ("-again" if again else "")),
        watch=watch,
    )
