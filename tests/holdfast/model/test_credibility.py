import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.credibility import Calibration, calibrate, credibility

K, CLASSES = 9, 3


def counts_of(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Votes that lean to the true label, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    chances = np.full((n, CLASSES), 0.15)
    chances[np.arange(n), labels] = 0.7
    return rng.multinomial(K, chances), labels


def test_p_values_follow_the_paper() -> None:
    calibration = Calibration(nonconformity=(0, 1, 1, 4), abstain_below=0, coverage=1)
    # alpha = (1, 2, 3): at least as nonconforming are 3, 1 and 1 of 4.
    credible, confident = credibility(np.array([[2, 1, 0]]), calibration, 3)
    assert credible[0] == (1 + 3) / 5
    assert confident[0] == 1 - (1 + 1) / 5


def test_zeros_count_and_no_p_value_is_zero() -> None:
    calibration = Calibration(nonconformity=(0, 0, 0), abstain_below=0, coverage=1)
    assert credibility(np.array([[K, 0, 0]]), calibration, K)[0][0] == 1
    assert credibility(np.array([[3, 3, 3]]), calibration, K)[0][0] == 1 / 4


def test_p_values_of_true_labels_are_valid() -> None:
    """P(p_true <= e) <= e over fresh images, up to sampling error: the promise of conformal prediction."""
    calibration_counts, labels = counts_of(0, 2000)
    calibration = calibrate(calibration_counts, labels, K)
    fresh, truth = counts_of(1, 4000)
    alpha = K - fresh[np.arange(len(truth)), truth]
    reference = np.array(calibration.nonconformity)
    p = (1 + (reference[:, None] >= alpha).sum(axis=0)) / (len(reference) + 1)
    for e in (0.05, 0.1, 0.3, 0.5):
        assert (p <= e).mean() <= e + 0.03


@given(st.integers(0, 1000), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_the_threshold_keeps_the_promised_coverage(seed: int, coverage: float) -> None:
    counts, labels = counts_of(seed, 60)
    calibration = calibrate(counts, labels, K, coverage)
    answered = (credibility(counts, calibration, K)[0] >= calibration.abstain_below).mean()
    assert answered >= coverage
    assert answered == calibration.coverage


@given(st.integers(0, 1000))
def test_more_agreement_never_means_less_credibility(seed: int) -> None:
    counts, labels = counts_of(seed, 30)
    calibration = calibrate(counts, labels, K)
    unanimous = np.eye(CLASSES, dtype=np.int64)[labels] * K
    assert (credibility(unanimous, calibration, K)[0] >= credibility(counts, calibration, K)[0]).all()


def test_neighbours_that_were_not_found_never_make_an_answer_more_credible() -> None:
    counts, labels = counts_of(0, 60)
    calibration = calibrate(counts, labels, K)
    whole = np.eye(CLASSES, dtype=np.int64) * K
    credible, confident = credibility(np.concatenate([whole, whole // 3, 0 * whole]), calibration, K)
    assert (credible[:3] > credible[3:6]).all()
    assert (credible[3:6] >= credible[6:]).all()
    assert (credible[6:] == (1 + (np.array(calibration.nonconformity) >= K).sum()) / 61).all()
    assert (confident[6:] == 1 - credible[6:]).all()
