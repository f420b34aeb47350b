"""Which attacks are tried, in which order: the ladders, step by step, each with what it costs.

White-box steps come first, the cheap and strong ones leading, so that the dearer ones see few survivors. What knows less
comes after them: whatever it still finds is an alarm.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from torch import Tensor

from holdfast.attacks.adaptive import TAUS
from holdfast.attacks.attack import Attack, AttackBatch, AttackKind, PGDAttack
from holdfast.attacks.losses import (
    AttackLoss,
    CrossEntropy,
    FeatureMatching,
    Guided,
    LatentDistance,
    LinearHead,
    Margin,
    Prototypes,
    RelativeMargin,
    SitawarinWagner,
    Targeted,
)
from holdfast.attacks.noise import Noise
from holdfast.attacks.search.journal import Tried
from holdfast.attacks.search.suite import AttackSuite
from holdfast.attacks.third_party import ApgdCE, ApgdTargeted, FabTargeted, HopSkip, SquareScores

GRADIENT = 4.0
"""Forward passes that one gradient costs, its own forward pass included."""

QUERY = 1.5
"""What one served answer costs: a forward pass, the search and the vote."""

STRONGEST = 3
"""So many white-box steps are tried once more with twice the steps and with twice the restarts."""

MORE_STEPS, MORE_RESTARTS = "twice the steps: ", "twice the restarts: "
TAU = 0.05


@dataclass(frozen=True)
class Effort:
    """How hard the steps try.

    Attributes:
        steps: gradients per restart.
        restarts: random starts of the attacks on margin and cross-entropy.
        queries: of each black-box attack, per image.
        targets: wrong classes that are targeted one by one, the strongest first; all where there are fewer.
        batch_size: images attacked at once.

    """

    steps: int = 100
    restarts: int = 5
    queries: int = 5000
    targets: int = 9
    batch_size: int = 128


@dataclass(frozen=True)
class Planned:
    """A step with its expected cost for one image, in forward passes of the encoder."""

    step: Attack
    cost: float


Plan = tuple[Planned, ...]


@dataclass(frozen=True)
class Named(Attack):
    """A step under another name."""

    name: str
    step: Attack

    @property
    def kind(self) -> AttackKind:
        """What the step knows."""
        return self.step.kind

    def __str__(self) -> str:
        return self.name

    def run(self, batch: AttackBatch) -> Tensor:
        """As the step."""
        return self.step.run(batch)


def ladder(plan: Plan, batch_size: int) -> AttackSuite:
    """To climb."""
    return AttackSuite(tuple(planned.step for planned in plan), batch_size)


def cost(plan: Plan) -> float:
    """Forward passes for an image that stands to the end."""
    return sum(planned.cost for planned in plan)


def full(effort: Effort, *, classes: int, k: int, tau: float = TAU, transfers: Sequence[Attack] = ()) -> Plan:
    """All that is known to fool a served kNN.

    Args:
        effort: how hard the steps try.
        classes: how many have exemplars.
        k: neighbours that vote.
        tau: temperature at which the surrogate is likest the vote; tried besides the usual ones.
        transfers: attacks by other encoders, tried with the other transfer attacks.

    """
    return (*white_box(effort, classes, k, tau), *transfer(effort, transfers), *black_box(effort))


def white_box(effort: Effort, classes: int, k: int, tau: float = TAU) -> Plan:
    """Gradients of the encoder through every view of the vote."""
    once, restarts = effort.steps * GRADIENT, range(effort.restarts)
    ranks = range(1, min(effort.targets, classes - 1) + 1)
    all_taus = dict.fromkeys((tau, *TAUS))
    rungs: tuple[AttackLoss, ...] = (
        *(Margin(each) for each in all_taus),
        # Wrong classes one by one find what the strongest of them alone does not (tests/trainer/test_crosscheck.py).
        *(Targeted(TAU, rank) for rank in ranks),
        # Which number of guides is the worst differs between encoders.
        *(SitawarinWagner(k, number=number) for number in (k + k % 2, 2 * k)),
        *(CrossEntropy(each) for each in all_taus),
        RelativeMargin(),
        Guided(75),
        Guided(300),
        LatentDistance(),
    )
    return (
        *(Planned(PGDAttack(rung, effort.steps), once) for rung in rungs),
        *(Planned(ApgdCE(tau, steps=effort.steps), once) for _ in restarts for tau in TAUS),
        *(Planned(PGDAttack(Margin(tau), effort.steps), once) for _ in restarts[1:] for tau in TAUS),
        *(Planned(ApgdTargeted(tau, rank, steps=effort.steps), once) for rank in ranks for tau in TAUS),
        *(Planned(PGDAttack(FeatureMatching(rank), effort.steps), once) for rank in ranks),
        Planned(FabTargeted(TAU, steps=effort.steps, targets=len(ranks)), 2 * once * len(ranks)),
    )


def transfer(effort: Effort, others: Sequence[Attack]) -> Plan:
    """Gradients of something else than what is attacked."""
    once = effort.steps * GRADIENT
    own: tuple[AttackLoss, ...] = (Prototypes(TAU), LinearHead())
    return (
        *(Planned(PGDAttack(rung, effort.steps, AttackKind.TRANSFER), once) for rung in own),
        *(Planned(step, once) for step in others),
    )


def black_box(effort: Effort) -> Plan:
    """Answers alone, and then nothing at all."""
    queried = effort.queries * QUERY
    return (
        Planned(SquareScores(queries=effort.queries), queried),
        Planned(HopSkip(queries=effort.queries), queried),
        *(Planned(Noise(), QUERY) for _ in range(10)),
    )


def bank_unknown(effort: Effort) -> Plan:
    """What remains for one who knows the encoder but not the exemplars, and brings labelled images of his own."""
    rungs: tuple[AttackLoss, ...] = (*(Margin(tau) for tau in TAUS), LatentDistance())
    return tuple(Planned(PGDAttack(rung, effort.steps), effort.steps * GRADIENT) for rung in rungs)


def once_more(plan: Plan, tried: Iterable[Tried], restarts: int) -> Plan:
    """The strongest white-box steps of a ladder that was climbed, with twice the steps, and with as many restarts again.

    Args:
        plan: the ladder.
        tried: what its steps came to.
        restarts: how many each step had.

    """
    found: dict[str, int] = {}
    for result in tried:
        found[result.name] = found.get(result.name, 0) + result.found
    gradual = {str(p.step): p for p in plan if p.step.kind == AttackKind.WHITE_BOX and _steps(p.step) is not None}
    strongest = sorted(gradual, key=lambda name: -found.get(name, 0))[:STRONGEST]
    chosen = [gradual[name] for name in strongest]
    return (
        *(Planned(Named(f"{MORE_STEPS}{p.step}", _doubled(p.step)), 2 * p.cost) for p in chosen),
        *(Planned(Named(f"{MORE_RESTARTS}{p.step}", p.step), p.cost) for _ in range(restarts) for p in chosen),
    )


def cost_once_more(effort: Effort) -> float:
    """What `once_more` will cost for an image, before it is known which steps it takes."""
    return STRONGEST * (2 + effort.restarts) * effort.steps * GRADIENT


def _steps(step: Attack) -> int | None:
    steps = getattr(step, "steps", None)
    return steps if isinstance(steps, int) and is_dataclass(step) else None


def _doubled(step: Any) -> Attack:
    doubled: Attack = replace(step, steps=2 * step.steps)
    return doubled
