"""Which attacks are tried, in which order: one table for each kind of attacker, a row for each family of attacks.

White-box attacks come first, the cheap and strong ones leading, so that the dearer ones see few survivors. Those that know
less come after them: whatever they still find says that the white-box attacks were too weak.

A new attack is a class in `holdfast.attacks` and one row here.
"""

from collections.abc import Callable, Iterable, Sequence
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
"""So many white-box attacks are tried again with twice the steps and with twice the restarts."""

MORE_STEPS, MORE_RESTARTS = "twice the steps: ", "twice the restarts: "
TAU = 0.05

DRAWS = 10
"""Of noise, for each image."""


@dataclass(frozen=True)
class Effort:
    """How hard the attacks try.

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
class SuiteOptions:
    """What a suite depends on.

    Attributes:
        effort: how hard the attacks try.
        classes: how many have exemplars.
        k: neighbours that vote.
        tau: temperature at which the surrogate is likest the vote; tried besides the usual ones.
        transfers: attacks by other encoders.
        gap: losses that aim at the neighbours that the served index misses; none of an exact one.

    """

    effort: Effort
    classes: int = 2
    k: int = 1
    tau: float = TAU
    transfers: tuple[Attack, ...] = ()
    gap: tuple[AttackLoss, ...] = ()

    @property
    def taus(self) -> tuple[float, ...]:
        """Temperatures of the surrogate, its own first."""
        return tuple(dict.fromkeys((self.tau, *TAUS)))

    @property
    def ranks(self) -> range:
        """Wrong classes that are targeted: 1 is the strongest."""
        return range(1, min(self.effort.targets, self.classes - 1) + 1)

    @property
    def gradients(self) -> float:
        """What one restart of a gradient attack costs for one image, in forward passes."""
        return self.effort.steps * GRADIENT

    @property
    def answers(self) -> float:
        """What one black-box attack costs for one image, in forward passes."""
        return self.effort.queries * QUERY


@dataclass(frozen=True)
class CostedAttack:
    """An attack with its expected cost for one image, in forward passes of the encoder."""

    attack: Attack
    cost: float


CostedSuite = tuple[CostedAttack, ...]


@dataclass(frozen=True)
class SuiteRow:
    """A family of attacks.

    Attributes:
        attacks: the attacks, in order.
        cost: what each of them costs for one image, in forward passes.

    """

    attacks: Callable[[SuiteOptions], Iterable[Attack]]
    cost: Callable[[SuiteOptions], float] = lambda options: options.gradients


def _pgd(options: SuiteOptions, losses: Iterable[AttackLoss], kind: AttackKind = AttackKind.WHITE_BOX) -> Iterable[Attack]:
    return (PGDAttack(loss, options.effort.steps, kind) for loss in losses)


def _each(options: SuiteOptions, first: int = 0) -> Iterable[float]:
    """The usual temperatures once for each restart from number `first` on."""
    return (tau for _ in range(options.effort.restarts)[first:] for tau in TAUS)


WHITE_BOX: tuple[SuiteRow, ...] = (
    SuiteRow(lambda o: _pgd(o, map(Margin, o.taus))),
    SuiteRow(lambda o: _pgd(o, o.gap)),
    # Wrong classes one by one find what the strongest of them alone does not (tests/holdfast/attacks/test_crosscheck.py).
    SuiteRow(lambda o: _pgd(o, (Targeted(TAU, rank) for rank in o.ranks))),
    # Which number of guides is the worst differs between encoders.
    SuiteRow(lambda o: _pgd(o, (SitawarinWagner(o.k, number=number) for number in (o.k + o.k % 2, 2 * o.k)))),
    SuiteRow(lambda o: _pgd(o, map(CrossEntropy, o.taus))),
    SuiteRow(lambda o: _pgd(o, (RelativeMargin(), Guided(75), Guided(300), LatentDistance()))),
    SuiteRow(lambda o: (ApgdCE(tau, steps=o.effort.steps) for tau in _each(o))),
    SuiteRow(lambda o: _pgd(o, map(Margin, _each(o, first=1)))),
    SuiteRow(lambda o: (ApgdTargeted(tau, rank, steps=o.effort.steps) for rank in o.ranks for tau in TAUS)),
    SuiteRow(lambda o: _pgd(o, map(FeatureMatching, o.ranks))),
    SuiteRow(
        lambda o: (FabTargeted(TAU, steps=o.effort.steps, targets=len(o.ranks)),),
        cost=lambda o: 2 * o.gradients * len(o.ranks),
    ),
)
"""Gradients of the encoder through every view of the vote."""

TRANSFER: tuple[SuiteRow, ...] = (
    SuiteRow(lambda o: _pgd(o, (Prototypes(TAU), LinearHead()), AttackKind.TRANSFER)),
    SuiteRow(lambda o: o.transfers),
)
"""Gradients of something else than what is attacked."""

BLACK_BOX: tuple[SuiteRow, ...] = (
    SuiteRow(lambda o: (SquareScores(queries=o.effort.queries),), cost=lambda o: o.answers),
    SuiteRow(lambda o: (HopSkip(queries=o.effort.queries),), cost=lambda o: o.answers),
    SuiteRow(lambda _: (Noise() for _ in range(DRAWS)), cost=lambda _: QUERY),
)
"""Answers alone, and then nothing at all."""

BANK_KNOWN: tuple[SuiteRow, ...] = (*WHITE_BOX, *TRANSFER, *BLACK_BOX)
"""All that is known to fool a served kNN."""

BANK_UNKNOWN: tuple[SuiteRow, ...] = (SuiteRow(lambda o: _pgd(o, (*map(Margin, TAUS), LatentDistance()))),)
"""What remains for an attacker who knows the encoder but not the exemplars, and brings labelled images of their own."""


def costed_suite(rows: Sequence[SuiteRow], options: SuiteOptions) -> CostedSuite:
    """Every attack of a table, in order."""
    return tuple(CostedAttack(attack, row.cost(options)) for row in rows for attack in row.attacks(options))


def attack_suite(suite: CostedSuite, batch_size: int) -> AttackSuite:
    """The attacks as one that runs them in order."""
    return AttackSuite(tuple(costed.attack for costed in suite), batch_size)


def suite_cost(suite: CostedSuite) -> float:
    """Forward passes for an image that survives to the end."""
    return sum(costed.cost for costed in suite)


@dataclass(frozen=True)
class RenamedAttack(Attack):
    """An attack under another name."""

    name: str
    attack: Attack

    @property
    def kind(self) -> AttackKind:
        """What the attack knows."""
        return self.attack.kind

    def __str__(self) -> str:
        return self.name

    def run(self, batch: AttackBatch) -> Tensor:
        """As the attack."""
        return self.attack.run(batch)


def strongest_again(suite: CostedSuite, tried: Iterable[Tried], restarts: int) -> CostedSuite:
    """The strongest white-box attacks of a suite that was run, with twice the steps, and with as many restarts again.

    Args:
        suite: what was run.
        tried: what its attacks found.
        restarts: how many each attack had.

    """
    found: dict[str, int] = {}
    for result in tried:
        found[result.name] = found.get(result.name, 0) + result.found
    gradual = {str(c.attack): c for c in suite if c.attack.kind == AttackKind.WHITE_BOX and _has_steps(c.attack)}
    strongest = sorted(gradual, key=lambda name: -found.get(name, 0))[:STRONGEST]
    chosen = [gradual[name] for name in strongest]
    return (
        *(CostedAttack(RenamedAttack(f"{MORE_STEPS}{c.attack}", _with_twice_the_steps(c.attack)), 2 * c.cost) for c in chosen),
        *(CostedAttack(RenamedAttack(f"{MORE_RESTARTS}{c.attack}", c.attack), c.cost) for _ in range(restarts) for c in chosen),
    )


def strongest_again_cost(effort: Effort) -> float:
    """What `strongest_again` will cost for an image, before it is known which attacks it takes."""
    return STRONGEST * (2 + effort.restarts) * effort.steps * GRADIENT


def _has_steps(attack: Attack) -> bool:
    return is_dataclass(attack) and isinstance(getattr(attack, "steps", None), int)


def _with_twice_the_steps(attack: Any) -> Attack:
    doubled: Attack = replace(attack, steps=2 * attack.steps)
    return doubled
