import pytest

from holdfast.attacks.attack import AttackKind
from holdfast.evaluation.report.results import AttackResult
from holdfast.evaluation.report.words import attacks, class_name, duration, size


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (90, "1 min 30 s"), (119.6, "2 min 0 s"), (3725, "1 h 2 min")]
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def test_sizes_and_class_names():
    assert [size(n) for n in (0, 1023, 1536, 2**34)] == ["0 B", "1023 B", "1.5 KiB", "16.0 GiB"]
    assert [class_name(i, ("a", "b")) for i in (-1, 0, 1, 2)] == ["no answer", "a", "b", "class 2"]


def steps(*names, kind=AttackKind.WHITE_BOX):
    return [AttackResult(name=name, kind=str(kind), tried=9, found=1, seconds=1) for name in names]


@pytest.mark.parametrize(
    ("tried", "said"),
    [
        ([], "no attack"),
        (steps("a"), "one attack"),
        (steps("a", "b", "a", "a"), "two attacks and two restarts"),
        (steps(*"abc", "twice the steps: a") + steps("noise", "noise", kind=AttackKind.RANDOM), "three attacks, two draws"),
        (steps(*map(str, range(42))) + steps("twice the restarts: 1"), "42 attacks and one repeat at twice the effort"),
    ],
)
def test_no_attack_is_counted_twice(tried, said):
    assert attacks(tried).startswith(said)
