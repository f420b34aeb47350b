"""Error rates of verification, held against what a loop over all thresholds finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.evaluation.speech.errors import equal_error_rate, error_curves, least_cost
from holdfast.evaluation.speech.trials import TrialScores, TrialSize, draw_trials
from tests.holdfast.model.speech.sounds import voice

SCORES = st.lists(st.integers(-20, 20).map(lambda n: n / 20), min_size=1, max_size=40)


@given(SCORES, SCORES)
def test_curves_and_least_cost_are_those_of_every_threshold(targets: list[float], others: list[float]) -> None:
    near, far = np.array(targets), np.array(others)
    thresholds = [*sorted({*targets, *others}), np.inf]
    expected = [((near < t).mean(), (far >= t).mean()) for t in thresholds]
    np.testing.assert_allclose(np.stack(error_curves(near, far), 1), expected, atol=1e-12)
    assert least_cost(near, far) == pytest.approx(min(0.05 * miss + 0.95 * alarm for miss, alarm in expected) / 0.05)


@given(SCORES, SCORES)
def test_the_equal_error_rate_lies_between_the_errors_where_they_cross(targets: list[float], others: list[float]) -> None:
    near, far = np.array(targets), np.array(others)
    rate = equal_error_rate(near, far)
    misses, alarms = error_curves(near, far)
    assert max(np.minimum(misses, alarms)) - 1e-12 <= rate <= min(np.maximum(misses, alarms)) + 1e-12


def test_known_rates() -> None:
    assert equal_error_rate(np.array([0.8, 0.9]), np.array([0.1, 0.2])) == 0
    assert equal_error_rate(np.array([0.1, 0.2]), np.array([0.8, 0.9])) == 1
    assert equal_error_rate(np.array([0.5]), np.array([0.5])) == 0.5
    assert equal_error_rate(np.array([0.3, 0.7]), np.array([0.5, 0.1])) == 0.5


@given(SCORES, SCORES, st.integers(1, 5))
def test_a_weight_is_a_repetition(targets: list[float], others: list[float], times: int) -> None:
    near, far = np.array(targets), np.array(others)
    weights = np.ones(len(near))
    weights[0] = times
    repeated = np.concatenate([near, np.repeat(near[0], times - 1)])
    assert equal_error_rate(near, far, weights) == pytest.approx(equal_error_rate(repeated, far))


def test_trials_are_of_one_speaker_in_two_channels_and_of_two_in_one() -> None:
    voices = [[voice(0.5, pitch=pitch, seed=seed) for seed in range(4)] for pitch in (90, 150, 220)]
    size = TrialSize(items=3, channels=4, pairs=60)
    clean, noisy = (draw_trials(voices, size, babble=level, seed=2) for level in (None, 5.0))
    assert clean.pictures.shape == (36, 64, 64, 3)
    np.testing.assert_array_equal(clean.targets, noisy.targets)
    assert (clean.pictures != noisy.pictures).any()
    channel, item = np.arange(36) % 4, np.arange(36) // 4
    assert (clean.speakers == np.repeat(range(3), 12)).all()
    for one, other in clean.targets:
        assert clean.speakers[one] == clean.speakers[other]
        assert channel[one] != channel[other]
        assert item[one] != item[other]
    for one, other in clean.others:
        assert clean.speakers[one] != clean.speakers[other]
        assert channel[one] == channel[other]


def test_who_knows_speakers_alone_has_no_errors_and_who_knows_channels_alone_has_all() -> None:
    voices = [[voice(0.5, pitch=pitch, seed=seed) for seed in range(4)] for pitch in (90, 150, 220)]
    trials = draw_trials(voices, TrialSize(items=3, channels=4, pairs=60), babble=None)
    by_speaker = TrialScores.of(trials, np.eye(3, dtype=np.float32)[trials.speakers])
    by_channel = TrialScores.of(trials, np.eye(4, dtype=np.float32)[np.arange(36) % 4])
    assert (by_speaker.equal_error_rate, by_channel.equal_error_rate) == (0, 1)
    assert (by_speaker.interval(50), by_channel.interval(50)) == ((0, 0), (1, 1))
    assert by_speaker.rate_of(np.array([0, 0, 2])) == 0
    assert by_channel.rate_of(np.array([0, 1, 1])) == 1
    assert by_channel.rate_of(np.array([1, 1, 1])) == 0  # nobody to be taken for another
