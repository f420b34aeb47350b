import pytest

from holdfast.evaluation.progress import ProgressEstimate, format_time_left


def test_the_time_left_goes_by_cost():
    now = [0.0]
    estimate = ProgressEstimate({"a": 100.0, "b": 300.0, "c": 500.0}, clock=lambda: now[0])
    assert estimate.seconds_left is None
    now[0] = 10.0
    estimate.spend("a", 50.0, 50.0)
    assert estimate.seconds_left == pytest.approx(850 / 5)
    estimate.expect("b", 100.0)
    estimate.close("c")
    assert estimate.seconds_left == pytest.approx(150 / 5)
    now[0] = 30.0
    estimate.finish("a")
    assert estimate.seconds_left == pytest.approx(100 * 30 / 100)


def test_before_anything_was_spent_it_goes_by_the_time_of_a_pass():
    now = [0.0]
    estimate = ProgressEstimate({"a": 100.0}, pass_seconds=0.5, clock=lambda: now[0])
    assert estimate.seconds_left == 50
    now[0] = 1.0
    estimate.spend("a", 50.0, 50.0)
    assert estimate.seconds_left == pytest.approx(1.0)


@pytest.mark.parametrize(("seconds", "words"), [(7500, "2 h 5 min"), (3600, "1 h left"), (20, "a minute"), (None, "not known")])
def test_the_time_left_in_words(seconds, words):
    assert words in format_time_left(seconds)
