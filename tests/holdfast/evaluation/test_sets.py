import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.evaluation.sets import LEVELS, measured_sets, set_p_values


def votes(rng, count, classes=3):
    """Shares [count, classes] and classes: the true one has the larger share more often than not."""
    truth = rng.integers(0, classes, count)
    weights = rng.exponential(size=(count, classes))
    weights[np.arange(count), truth] *= 3
    return weights / weights.sum(1, keepdims=True), truth


@given(st.integers(0, 10**6), st.booleans())
def test_a_p_value_counts_the_calibration_images_that_are_at_least_as_strange(seed, per_class):
    rng = np.random.default_rng(seed)
    reference, truth = votes(rng, 12)
    asked, _ = votes(rng, 4)
    p = set_p_values(asked, reference, truth, per_class=per_class)
    strange = np.round(1 - reference[np.arange(12), truth], 4)
    for n in range(4):
        for label in range(3):
            compared = strange[truth == label] if per_class else strange
            at_least = (compared >= round(1 - asked[n, label], 4)).sum()
            assert p[n, label] == pytest.approx((1 + at_least) / (len(compared) + 1))


@pytest.mark.parametrize("per_class", [False, True])
def test_sets_cover_what_they_promise_where_images_are_alike(per_class):
    rng = np.random.default_rng(0)
    reference, truth = votes(rng, 3000)
    asked, asked_truth = votes(rng, 3000)
    p = set_p_values(asked, reference, truth, per_class=per_class)
    for one in measured_sets(p, asked_truth):
        assert one.covered.value == pytest.approx(1 - one.level, abs=0.03)
        assert 0 < one.size < 3
    sizes = [one.size for one in measured_sets(p, asked_truth)]
    assert sizes == sorted(sizes, reverse=True)
    assert [one.level for one in measured_sets(p, asked_truth)] == list(LEVELS)


def test_a_class_without_calibration_images_is_never_ruled_out():
    reference = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]])
    p = set_p_values(np.array([[1.0, 0.0, 0.0]]), reference, np.array([0, 0]), per_class=True)
    assert p[0, 1] == p[0, 2] == 1
    assert p[0, 0] == 1
