import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from holdfast.model.surrogate import SoftKNN
from holdfast.model.vote import VoteParameters, vote


def unit(seed: int, n: int, d: int) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def naive(z: np.ndarray, bank: np.ndarray, labels: np.ndarray, classes: int, tau: float) -> np.ndarray:
    s = z.astype(np.float64) @ bank.astype(np.float64).T / tau
    return np.stack([logsumexp(s[:, labels == c], axis=1) for c in range(classes)], axis=1)


@given(st.integers(0, 10_000), st.sampled_from([0.02, 0.025, 0.05, 0.2, 1.0]))
def test_scores_are_logsumexps(seed: int, tau: float) -> None:
    bank, z = unit(seed, 30, 5), unit(seed + 1, 4, 5)
    labels = np.random.default_rng(seed).permutation(np.arange(30) % 3)
    np.testing.assert_allclose(
        SoftKNN(bank, labels, 3, tau).log_scores(z), naive(z, bank, labels, 3, tau), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("tau", [0.05, 0.3])
def test_the_gradient_is_the_slope_of_the_margin(tau: float) -> None:
    bank, z = unit(0, 60, 6), unit(1, 5, 6)
    labels, own = np.arange(60) % 4, np.array([0, 1, 2, 3, 0])
    surrogate = SoftKNN(bank, labels, 4, tau)
    margin, gradient = surrogate.margin_gradient(z, own)
    np.testing.assert_allclose(margin, surrogate.margin(z, own), rtol=1e-5)

    def exact(at: np.ndarray) -> np.ndarray:
        scores = naive(at, bank, labels, 4, tau)
        own_scores = scores[np.arange(5), own].copy()
        scores[np.arange(5), own] = -np.inf
        return own_scores - scores.max(axis=1)

    step = 1e-6
    for d in range(6):
        shift = np.zeros((5, 6))
        shift[:, d] = step
        slope = (exact(z + shift) - exact(z - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[:, d], slope, rtol=2e-3, atol=2e-3)


def test_a_class_without_exemplars_never_wins() -> None:
    surrogate = SoftKNN(unit(0, 10, 4), np.arange(10) % 2, 3, 0.1)
    assert np.isneginf(surrogate.log_scores(unit(1, 2, 4))[:, 2]).all()
    assert np.isfinite(surrogate.margin_gradient(unit(1, 2, 4), np.array([0, 1]))[1]).all()


def test_prototypes_stand_for_the_bank() -> None:
    """On clustered classes, a tenth of the rows gives nearly the same margins; a small bank is not compressed at all."""
    rng = np.random.default_rng(0)
    centres = unit(3, 8, 16)
    bank = centres[np.arange(2000) % 8] + 0.1 * rng.normal(size=(2000, 16)).astype(np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    labels = np.arange(2000) % 8 % 2
    whole, compressed = SoftKNN(bank, labels, 2, 0.1), SoftKNN.compressed(bank, labels, 2, 0.1, prototypes=200)
    assert len(compressed) <= 210
    z = unit(5, 50, 16)
    own = whole.log_scores(z).argmax(axis=1)
    np.testing.assert_allclose(compressed.margin(z, own), whole.margin(z, own), atol=0.5)
    assert len(SoftKNN.compressed(bank, labels, 2, 0.1, prototypes=2000)) == 2000


@given(st.integers(0, 10_000), st.sampled_from([0.025, 0.05, 0.2]))
def test_class_weights_are_those_of_a_vote_of_all_exemplars(seed: int, tau: float) -> None:
    """A soft kNN that weighs classes answers as the vote of the whole bank does."""
    bank, z = unit(seed, 30, 5), unit(seed + 1, 20, 5)
    labels = np.random.default_rng(seed).choice(3, 30, p=[0.7, 0.2, 0.1])
    parameters = VoteParameters(k=30, weighting="exponential", temperature=tau)
    parameters = parameters.corrected(np.bincount(labels, minlength=3), 1.0)
    scores = SoftKNN(bank, labels, 3, tau).reweighed(parameters.weights_of(3)).log_scores(z)
    similarities = z @ bank.T
    shares = vote(similarities, np.tile(labels, (20, 1)), 3, parameters).shares
    soft = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(soft / soft.sum(axis=1, keepdims=True), shares, rtol=1e-3, atol=1e-5)
