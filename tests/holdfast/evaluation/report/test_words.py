import pytest

from holdfast.evaluation.report.words import class_name, duration, size


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (90, "1 min 30 s"), (119.6, "2 min 0 s"), (3725, "1 h 2 min")]
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def test_sizes_and_class_names():
    assert [size(n) for n in (0, 1023, 1536, 2**34)] == ["0 B", "1023 B", "1.5 KiB", "16.0 GiB"]
    assert [class_name(i, ("a", "b")) for i in (-1, 0, 1, 2)] == ["no answer", "a", "b", "class 2"]
