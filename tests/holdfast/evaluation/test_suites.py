from holdfast.attacks.attack import AttackKind, PGDAttack
from holdfast.attacks.losses import Margin
from holdfast.attacks.noise import Noise
from holdfast.attacks.search.journal import Tried
from holdfast.evaluation import suites
from holdfast.evaluation.suites import (
    MORE_RESTARTS,
    MORE_STEPS,
    CostedAttack,
    Effort,
    SuiteOptions,
    SuiteRow,
    costed_suite,
    strongest_again,
    strongest_again_cost,
    suite_cost,
)


def suite_of(effort: Effort, classes: int):
    return costed_suite(suites.BANK_KNOWN, SuiteOptions(effort, classes=classes, k=5))


def test_the_suite_is_ordered_by_what_is_known():
    suite = suite_of(Effort(steps=7, restarts=2, queries=30), classes=10)
    kinds = [costed.attack.kind for costed in suite]
    assert kinds == sorted(kinds, key=list(AttackKind).index)
    assert set(kinds) == set(AttackKind)
    names = [str(costed.attack) for costed in suite]
    for tau in ("0.02", "0.05", "0.1", "0.2"):
        assert names.count(f"margin tau {tau}") == names.count(f"APGD-CE tau {tau}") == 2
        assert [f"APGD-T tau {tau} class {rank}" in names for rank in (1, 9, 10)] == [True, True, False]
    assert all(costed.cost > 0 for costed in suite)
    assert suite_cost(suite) == sum(costed.cost for costed in suite)
    assert len(suite_of(Effort(), classes=2)) < len(suite_of(Effort(), classes=10))


def test_a_new_attack_is_one_row():
    rows = (*suites.WHITE_BOX, SuiteRow(lambda o: (PGDAttack(Margin(0.33), o.effort.steps),)))
    (*before, added) = costed_suite(rows, SuiteOptions(Effort(steps=7), classes=3, k=5))
    assert tuple(before) == costed_suite(suites.WHITE_BOX, SuiteOptions(Effort(steps=7), classes=3, k=5))
    assert (str(added.attack), added.cost) == ("margin tau 0.33", 28.0)


def test_the_strongest_white_box_attacks_are_tried_again():
    attacks = (
        PGDAttack(Margin(0.05), 10),
        PGDAttack(Margin(0.1), 10),
        PGDAttack(Margin(0.2), 10),
        PGDAttack(Margin(0.5), 10),
        Noise(),
    )
    found = (1, 5, 2, 3, 9)
    tried = [Tried(str(s), s.kind, 100, n, 1.0) for s, n in zip(attacks, found, strict=True)]
    again = strongest_again(tuple(CostedAttack(attack, 40.0) for attack in attacks), tried, restarts=2)
    names = [str(costed.attack) for costed in again]
    strongest = [str(attacks[i]) for i in (1, 3, 2)]
    assert names == [f"{MORE_STEPS}{name}" for name in strongest] + [f"{MORE_RESTARTS}{name}" for name in strongest] * 2
    assert [costed.attack.attack.steps for costed in again] == [20] * 3 + [10] * 6
    assert [costed.cost for costed in again] == [80.0] * 3 + [40.0] * 6
    assert suite_cost(again) == strongest_again_cost(Effort(steps=10, restarts=2))
