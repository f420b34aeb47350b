"""The ladders, climbed within every ball and with every knowledge; what was done already is not done again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from holdfast.attacks.attack import Attack
from holdfast.attacks.search.journal import Tried
from holdfast.attacks.search.worst_case import NAME, AttackOutcome, WorstCase
from holdfast.bundle.threat_model import ThreatModel
from holdfast.evaluation import suites as plans
from holdfast.evaluation.balls import slug
from holdfast.evaluation.context import EvaluationContext
from holdfast.evaluation.report.results import Knowledge, Measured, StepResult, ThreatResult
from holdfast.evaluation.run import Run
from holdfast.evaluation.settings import Settings
from holdfast.evaluation.suites import Plan
from holdfast.intervals import Rate

ANOTHER_SEED = 1_000_003


@dataclass(frozen=True)
class Part:
    """One ladder within one ball.

    Attributes:
        threat: the ball.
        knowledge: of the attacker.
        plan: what is climbed.
        once_more: forward passes an image costs in the strongest steps tried once more afterwards; 0 for none.

    """

    threat: ThreatModel
    knowledge: Knowledge
    plan: Plan
    once_more: float = 0.0

    @property
    def name(self) -> str:
        """Of its journal: "linf-0.0313725-bank-known"."""
        return f"{slug(self.threat)}-{self.knowledge.replace(' ', '-')}"

    @property
    def cost(self) -> float:
        """Forward passes for an image that stands to the end."""
        return plans.cost(self.plan) + self.once_more


@dataclass(frozen=True, eq=False)
class Hunted:
    """What a ladder came to: per image, and in the words of the report."""

    part: Part
    outcome: AttackOutcome
    result: ThreatResult


def parts_of(settings: Settings, scene: EvaluationContext, transfers: Sequence[Attack]) -> tuple[Part, ...]:
    """What is to be climbed, in this order."""
    effort = settings.effort
    manifest = scene.bundle.manifest
    known = plans.full(effort, classes=scene.classes, k=manifest.vote.k, tau=manifest.surrogate_tau, transfers=transfers)
    unknown = plans.bank_unknown(effort)
    return (
        *(Part(ball, "bank known", known, plans.cost_once_more(effort)) for ball in settings.balls),
        *(Part(ball, "bank unknown", unknown) for ball in settings.balls),
    )


def climb_all(parts: Sequence[Part], run: Run) -> tuple[Hunted, ...]:
    """Climb every ladder. What fooled within a ball is handed on to the next larger one of its norm and knowledge."""
    done: list[Hunted] = []
    for part in parts:
        smaller = [hunted for hunted in done if alike(hunted.part, part)]
        hunted = _climb(part, smaller[-1].outcome if smaller else None, run)
        done.append(hunted)
        run.outlook.close(part.name)
        for later in parts[len(done) :]:
            if alike(later, part):
                run.outlook.expect(later.name, later.cost * hunted.result.robust.successes)
        run.say(f"{part.threat}, {part.knowledge}: robust {hunted.result.robust.rate}")
    return tuple(done)


def alike(one: Part, other: Part) -> bool:
    """Whether what fools within one ball may be tried within the other."""
    return (one.threat.norm, one.knowledge) == (other.threat.norm, other.knowledge)


def _climb(part: Part, smaller: AttackOutcome | None, run: Run) -> Hunted:
    scene = run.scene
    victim = scene.victim if part.knowledge == "bank known" else scene.without_bank
    worst_case = WorstCase(victim, scene.images, scene.labels, part.threat)
    clean = worst_case.survivors
    if smaller is not None:
        worst_case.inherit(np.array(smaller.found_by, dtype=NAME), smaller.adversarial)
    inherited = clean - worst_case.survivors
    tried = _tried(part, part.plan, worst_case, run)
    if part.once_more:
        tried += _tried(part, plans.once_more(part.plan, tried, run.settings.effort.restarts), worst_case, run, again=True)
    result = ThreatResult(
        norm=part.threat.norm,
        epsilon=part.threat.epsilon,
        knowledge=part.knowledge,
        clean=Measured.of(Rate(clean, len(scene.labels))),
        robust=Measured.of(Rate(worst_case.survivors, len(scene.labels))),
        dsr=Measured.of(Rate(worst_case.survivors, clean)),
        inherited=inherited,
        steps=tuple(map(StepResult.of, tried)),
    )
    return Hunted(part, worst_case.outcome(), result)


def _tried(part: Part, plan: Plan, worst_case: WorstCase, run: Run, *, again: bool = False) -> tuple[Tried, ...]:
    settings, afterwards = run.settings, 0.0 if again else part.once_more

    def watch(number: int, images: int, waiting: int) -> None:
        # What is spent; and, by what stands now, what is left at most.
        after = plans.cost(plan[number + 1 :]) + afterwards
        each = plan[number].cost
        run.outlook.spend(part.name, each * images, each * waiting + after * worst_case.survivors)
        run.rest(part.name)

    return plans.ladder(plan, settings.effort.batch_size).run(
        worst_case,
        seed=settings.seed + (ANOTHER_SEED if again else 0),
        progress=run.progress,
        store=run.work.file(part.name + ("-once-more" if again else "")),
        watch=watch,
    )
