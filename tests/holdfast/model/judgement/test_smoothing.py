"""Smoothing certificates against the binomial distribution itself."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.judgement.smoothing import lower_bound, noisy_copies, smoothed_answer


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.001, 0.05, 0.3]))
def test_the_lower_bound_is_where_as_many_hits_become_too_unlikely(counts, alpha) -> None:
    hits, draws = counts
    bound = lower_bound(hits, draws, alpha)

    def at_least(p: float) -> float:
        return sum(math.comb(draws, m) * p**m * (1 - p) ** (draws - m) for m in range(hits, draws + 1))

    assert 0 <= bound <= hits / draws
    if hits:
        assert at_least(bound) == pytest.approx(alpha, rel=1e-6)


@pytest.mark.parametrize(("draws", "ratio"), [(100, 1.50), (1000, 2.46)])
def test_the_radius_of_unanimous_draws_is_the_published_one(draws, ratio) -> None:
    answer = smoothed_answer(np.full(10, 3), np.full(draws, 3), 0.25)
    assert (answer.label, answer.abstain) == (3, False)
    assert answer.radius / 0.25 == pytest.approx(ratio, abs=0.005)


def test_without_a_sure_majority_it_abstains() -> None:
    answer = smoothed_answer(np.array([1, 1, 0]), np.array([1] * 55 + [0] * 45), 0.25)
    assert (answer.label, answer.hits, answer.radius, answer.abstain) == (1, 55, 0.0, True)


def test_the_class_is_of_the_first_draws_alone() -> None:
    answer = smoothed_answer(np.array([2, 2, 1]), np.array([1] * 100), 0.25)
    assert (answer.label, answer.hits, answer.abstain) == (2, 0, True)


def test_noise_is_as_large_as_it_says_and_stays_in_range() -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    copies = noisy_copies(grey, 20, 0.1, np.random.default_rng(0))
    assert (copies.shape, copies.dtype) == ((20, 32, 32, 3), np.uint8)
    assert (copies.astype(float) / 255).std() == pytest.approx(0.1, rel=0.02)
    edge = noisy_copies(np.zeros((8, 8, 3), np.uint8), 50, 0.5, np.random.default_rng(0))
    assert edge.min() == 0
    assert 0.45 < (edge == 0).mean() < 0.55
