import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.intervals import Rate, poisson_upper, wilson


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_holds_the_rate_and_mirrors(successes, trials):
    successes = min(successes, trials)
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert wilson(trials - successes, trials) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(st.integers(1, 200), st.integers(2, 50))
def test_more_trials_narrow_it(trials, times):
    low, high = wilson(trials // 2, trials)
    narrow_low, narrow_high = wilson(trials // 2 * times, trials * times)
    assert narrow_high - narrow_low < high - low


def test_known_values():
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson(0, 0) == (0, 1)
    half = wilson(500, 1000)
    assert half[1] - half[0] == pytest.approx(0.062, abs=0.001)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match=f"{successes}.*{trials}"):
        wilson(successes, trials)


def test_a_rate_reads_well():
    assert str(Rate(81, 263)) == "30.8 % [25.5, 36.6]"
    assert Rate(1, 4).value == 0.25
    assert math.isnan(Rate(0, 0).value)


@given(st.integers(0, 60), st.floats(0.5, 0.999))
def test_a_poisson_bound_is_the_mean_at_which_so_few_events_are_so_rare(events, confidence):
    bound = poisson_upper(events, confidence=confidence)
    terms = [math.exp(n * math.log(bound) - bound - math.lgamma(n + 1)) for n in range(events + 1)]
    assert sum(terms) == pytest.approx(1 - confidence, rel=1e-6)
    assert bound < poisson_upper(events + 1, confidence=confidence)


def test_known_poisson_bounds():
    # Garwood (1936), Biometrika 28, table 1.
    assert poisson_upper(0) == pytest.approx(2.996, abs=5e-4)
    assert poisson_upper(3, confidence=0.975) == pytest.approx(8.77, abs=5e-3)


@pytest.mark.parametrize(("events", "confidence"), [(-1, 0.95), (0, 0.0), (0, 1.0)])
def test_impossible_events_are_refused(events, confidence):
    with pytest.raises(ValueError, match=f"{events} events"):
        poisson_upper(events, confidence=confidence)
