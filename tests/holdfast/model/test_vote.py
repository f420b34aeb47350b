import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from holdfast.model.vote import VoteParameters, vote

UNIFORM = VoteParameters(k=5)
EXPONENTIAL = VoteParameters(k=5, weighting="exponential", temperature=0.1)
batches = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float32, (n, 5), elements=st.floats(-1, 1, width=32)),
        hnp.arrays(np.int64, (n, 5), elements=st.integers(0, 3)),
    )
)


@given(batches, st.sampled_from([UNIFORM, EXPONENTIAL]))
def test_shares_sum_to_one_and_the_winner_has_the_most(batch, parameters) -> None:
    similarities, labels = batch
    outcome = vote(similarities, labels, 4, parameters)
    np.testing.assert_allclose(outcome.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (outcome.counts.sum(axis=1) == 5).all()
    winning = outcome.probabilities[np.arange(len(labels)), outcome.labels]
    assert (winning >= outcome.probabilities.max(axis=1) - 2e-5).all()


@given(batches, st.sampled_from([UNIFORM, EXPONENTIAL]))
def test_the_order_of_the_neighbours_does_not_matter(batch, parameters) -> None:
    similarities, labels = batch
    backwards = vote(similarities[:, ::-1].copy(), labels[:, ::-1].copy(), 4, parameters)
    np.testing.assert_array_equal(backwards.counts, vote(similarities, labels, 4, parameters).counts)
    np.testing.assert_array_equal(backwards.labels, vote(similarities, labels, 4, parameters).labels)


@given(batches, st.sampled_from([UNIFORM, EXPONENTIAL]))
def test_each_row_is_voted_alone(batch, parameters) -> None:
    similarities, labels = batch
    together = vote(similarities, labels, 4, parameters)
    for i in range(len(labels)):
        assert vote(similarities[i : i + 1], labels[i : i + 1], 4, parameters).labels[0] == together.labels[i]


def test_a_tie_goes_to_the_larger_summed_similarity() -> None:
    similarities = np.array([[0.9, 0.8, 0.8, 0.6]], dtype=np.float32)
    assert vote(similarities, np.array([[2, 1, 1, 2]]), 3, UNIFORM).labels[0] == 1  # 1.6 against 1.5


def test_then_to_the_smaller_label() -> None:
    similarities = np.array([[0.9, 0.9, 0.5, 0.5]], dtype=np.float32)
    assert vote(similarities, np.array([[2, 1, 1, 2]]), 3, UNIFORM).labels[0] == 1


def test_exponential_weights_follow_the_formula() -> None:
    similarities = np.array([[0.9, 0.7, 0.7]], dtype=np.float32)
    shares = vote(similarities, np.array([[0, 1, 1]]), 2, EXPONENTIAL).probabilities[0]
    weights = np.exp(np.array([0.9, 0.7, 0.7]) / 0.1)
    np.testing.assert_allclose(shares, [weights[0] / weights.sum(), weights[1:].sum() / weights.sum()], rtol=1e-5)


@pytest.mark.parametrize("temperature", [1e-6, 1e-3])
def test_small_temperatures_do_not_overflow(temperature: float) -> None:
    parameters = VoteParameters(k=2, weighting="exponential", temperature=temperature)
    shares = vote(np.array([[1, -1]], dtype=np.float32), np.array([[0, 1]]), 2, parameters).probabilities
    np.testing.assert_allclose(shares, [[1, 0]])


@pytest.mark.parametrize("parameters", [UNIFORM, EXPONENTIAL])
def test_neighbours_that_were_not_found_have_no_vote(parameters) -> None:
    near = np.array([[-0.2, -0.3, -np.inf], [0.9, -np.inf, -np.inf], [-np.inf] * 3], dtype=np.float32)
    labels = np.array([[1, 2, -1], [2, -1, -1], [-1, -1, -1]])
    outcome = vote(near, labels, 3, parameters)
    np.testing.assert_array_equal(outcome.counts, [[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    assert outcome.labels.tolist() == [1, 2, 0]
    np.testing.assert_allclose(outcome.probabilities.sum(axis=1), [1, 1, 0])
    alone = vote(near[:1, :2], labels[:1, :2], 3, parameters)
    np.testing.assert_array_equal(alone.probabilities[0], outcome.probabilities[0])


CORRECTED = [parameters.corrected(np.array([100, 10, 0, 1]), 0.5) for parameters in (UNIFORM, EXPONENTIAL)]


def test_corrected_weights_are_the_formula() -> None:
    np.testing.assert_allclose(UNIFORM.corrected(np.array([100, 4, 25]), 0.5).weights_of(3), [0.2, 1, 0.4])
    assert UNIFORM.corrected(np.array([100, 4, 25]), 0.5).corrected(np.array([1, 4, 1])).weights_of(3).tolist() == [1, 0.5, 1]
    assert UNIFORM.corrected(np.array([100, 4, 25]), 0.5).corrected(np.array([1, 4]), 0) == UNIFORM
    assert UNIFORM.weights_of(3) is None
    assert CORRECTED[0].weights_of(6).tolist()[4:] == [1, 1]  # classes that came later


@given(batches, st.sampled_from(CORRECTED))
def test_each_vote_is_multiplied_by_the_weight_of_its_class(batch, parameters) -> None:
    """Against a loop over neighbours."""
    similarities, labels = batch
    outcome, of_class = vote(similarities, labels, 4, parameters), parameters.weights_of(4)
    for n, (near, row) in enumerate(zip(similarities.astype(np.float64), labels, strict=True)):
        weights = np.zeros(4)
        for similarity, label in zip(near, row, strict=True):
            own = 1 if parameters.weighting == "uniform" else np.exp((similarity - near.max()) / parameters.temperature)
            weights[label] += own * of_class[label]
        np.testing.assert_allclose(outcome.shares[n], weights / weights.sum(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(outcome.probabilities[n], weights / weights.sum(), rtol=1e-5, atol=1e-7)


@given(batches, st.sampled_from([UNIFORM, EXPONENTIAL]))
def test_a_correction_of_equal_classes_corrects_nothing(batch, parameters) -> None:
    plain, corrected = (vote(*batch, 4, each) for each in (parameters, parameters.corrected(np.full(4, 7), 1)))
    np.testing.assert_array_equal(plain.labels, corrected.labels)
    np.testing.assert_allclose(plain.shares, corrected.shares)


@given(batches, st.sampled_from([UNIFORM, EXPONENTIAL, *CORRECTED]), st.integers(0, 5))
def test_what_is_not_found_lowers_every_share(batch, parameters, found) -> None:
    similarities, labels = np.sort(batch[0])[:, ::-1].copy(), batch[1].copy()
    similarities[:, found:], labels[:, found:] = -np.inf, -1
    outcome = vote(similarities, labels, 4, parameters)
    assert (outcome.shares <= outcome.probabilities + 1e-6).all()
    of_class = parameters.weights_of(4)
    if parameters.weighting == "uniform" and of_class is None:
        np.testing.assert_allclose(outcome.shares, outcome.counts / 5)
    assert (outcome.shares.sum(axis=1) <= 1 + 1e-9).all()
    assert (outcome.shares.sum(axis=1) >= found / 5 - 1e-9).all()  # the missing weigh as the lightest, so at most their number


def test_weights_that_cannot_be_are_refused() -> None:
    for wrong in ({"class_weights": (0.0, 1.0)}, {"class_weights": (1.5,)}, {"prior_correction": 1.5}):
        with pytest.raises(ValidationError):
            VoteParameters(k=5, **wrong)
