import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from holdfast.model.credibility import (
    Calibration,
    calibrate,
    calibrate_left_out,
    calibrate_retriever,
    credibility,
    nonconformity,
    p_values,
)
from holdfast.model.resolution import least_images
from holdfast.model.retrieval.base import Bank, nearest
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters, vote

CLASSES = 4
OPEN = {"abstain_below": 0, "coverage": 1}
UNIFORM = VoteParameters(k=9)
VOTES = st.builds(
    VoteParameters,
    k=st.sampled_from([1, 5, 9, 40]),
    weighting=st.sampled_from(["uniform", "exponential"]),
    temperature=st.sampled_from([0.02, 0.1, 1.0]),
    prior_correction=st.sampled_from([0.0, 0.5]),
).map(lambda parameters: parameters.corrected(np.array([550, 300, 120, 30])))


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def drawn(count: int, seed: int, chances: tuple[float, ...] = (0.55, 0.3, 0.12, 0.03)) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of overlapping classes, some of them rare, and their labels: exchangeable, whatever the seed."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, count, p=chances)
    return unit(np.eye(CLASSES, 6)[labels] + rng.normal(0, 0.5, (count, 6))), labels


def index_of(count: int, seed: int, **options: tuple[float, ...]) -> FlatIndex:
    embeddings, labels = drawn(count, seed, **options)
    return FlatIndex.build(Bank(embeddings, np.arange(count), labels))


def voted(index: FlatIndex, embeddings: np.ndarray, parameters: VoteParameters):
    found = nearest(index, embeddings, parameters.k)
    return vote(found.similarities, found.labels, CLASSES, parameters)


def shares_of(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


def test_p_values_follow_the_paper() -> None:
    # alpha = (1/3, 2/3, 1): at least as nonconforming are 3, 1 and 1 of 4.
    calibration = Calibration(nonconformity=tuple(nonconformity(np.array([1, 2 / 3, 2 / 3, 0])).tolist()), **OPEN)
    shares = shares_of([2 / 3, 1 / 3, 0])
    assert p_values(shares, calibration).tolist() == [[(1 + 3) / 5, (1 + 1) / 5, (1 + 1) / 5]]
    credible, confident = credibility(shares, np.array([0]), calibration)
    assert credible[0] == (1 + 3) / 5
    assert confident[0] == 1 - (1 + 1) / 5


def test_credibility_is_of_the_label_that_is_answered() -> None:
    calibration = Calibration(nonconformity=(0.1, 0.2, 0.5, 0.7), **OPEN)
    credible, confident = credibility(shares_of([0.6, 0.4], [0.6, 0.4]), np.array([0, 1]), calibration)
    assert credible.tolist() == [3 / 5, 2 / 5]
    assert confident.tolist() == [1 - 2 / 5, 1 - 3 / 5]


def test_weights_decide_label_and_credibility_alike() -> None:
    """Two near neighbours outweigh three far ones. Counted alike, the answer's p-value would be the others'."""
    near, labels = np.array([[0.9, 0.9, 0.1, 0.1, 0.1]], dtype=np.float32), np.array([[1, 1, 0, 0, 0]])
    outcome = vote(near, labels, 2, VoteParameters(k=5, weighting="exponential", temperature=0.1))
    calibration = Calibration(nonconformity=(0.0, 0.01, 0.3, 0.5), **OPEN)
    credible, confident = credibility(outcome.shares, outcome.labels, calibration)
    assert outcome.labels.tolist() == [1]
    assert credible.tolist() == [4 / 5]
    assert confident.tolist() == [4 / 5]


def test_zeros_count_and_no_p_value_is_zero() -> None:
    calibration = Calibration(nonconformity=(0, 0, 0), **OPEN)
    assert credibility(shares_of([1, 0, 0]), np.array([0]), calibration)[0][0] == 1
    assert credibility(shares_of([1 / 3, 1 / 3, 1 / 3]), np.array([0]), calibration)[0][0] == 1 / 4


@settings(max_examples=12)
@given(VOTES, st.integers(0, 20))
def test_p_values_of_true_labels_are_valid(parameters: VoteParameters, seed: int) -> None:
    """P(p_true <= e) <= e over fresh images: what conformal prediction promises, for any vote, with ties and rare classes.

    Calibrating on n images and looking at m fresh ones, the share strays by about sqrt(e (1 - e) (1/n + 1/m)): four of these.
    """
    index, n, m = index_of(300, 7), 2000, 4000
    held, labels = drawn(n, 1000 + seed)
    calibration = calibrate_retriever(index, parameters, held, labels, classes=CLASSES)
    fresh, truth = drawn(m, 2000 + seed)
    p = p_values(voted(index, fresh, parameters).shares, calibration)[np.arange(m), truth]
    for e in (0.05, 0.1, 0.3, 0.5):
        assert (p <= e).mean() <= e + 4 * (e * (1 - e) * (1 / n + 1 / m)) ** 0.5


@settings(max_examples=30)
@given(VOTES, st.integers(0, 1000), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_the_threshold_keeps_the_promised_coverage(parameters: VoteParameters, seed: int, coverage: float) -> None:
    index, (held, labels) = index_of(60, seed), drawn(60, seed + 1)
    outcome = voted(index, held, parameters)
    calibration = calibrate(outcome.shares, outcome.labels, labels, coverage)
    calibrated = calibrate_retriever(index, parameters, held, labels, classes=CLASSES, coverage=coverage)
    assert calibration == calibrated.model_copy(update={"kth_distances": ()})
    farthest = 1 - nearest(index, held, parameters.k).similarities[:, -1]
    np.testing.assert_allclose(calibrated.kth_distances, np.sort(farthest), atol=2e-5)
    answered = (credibility(outcome.shares, outcome.labels, calibration)[0] >= calibration.abstain_below).mean()
    assert answered >= coverage
    assert answered == calibration.coverage


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(0, 1000), st.sampled_from([0.5, 0.8, 0.95, 1.0]), st.sampled_from([1, 3, 1000]))
def test_an_image_that_is_held_back_is_answered_as_often_as_promised(n: int, seed: int, coverage: float, steps: int) -> None:
    """Each of n + 1 images in turn is the new one, calibrated on the n others: a probability, without a draw."""
    rng = np.random.default_rng(seed)
    top = np.round(rng.uniform(0.5, 1, n + 1) * steps) / steps  # of one step all votes are unanimous, or nearly
    shares, answered, labels = np.stack([top, 1 - top], axis=1), np.zeros(n + 1, np.int64), rng.integers(0, 2, n + 1)
    kept = 0
    for new in range(n + 1):
        others = np.arange(n + 1) != new
        calibration = calibrate(shares[others], answered[others], labels[others], coverage)
        assert (calibration.abstain_below > 0) == (0 < least_images(coverage) <= n)
        kept += credibility(shares[~others], answered[~others], calibration)[0][0] >= calibration.abstain_below
    assert kept / (n + 1) >= coverage - 1e-9


def test_few_unanimous_images_make_no_other_answer_abstain() -> None:
    for n, below in ((12, 0.0), (18, 0.0), (19, 1.0)):
        unanimous = np.eye(2)[np.zeros(n, np.int64)]
        calibration = calibrate(unanimous, np.zeros(n, np.int64), np.zeros(n, np.int64))
        assert (calibration.abstain_below, calibration.coverage) == (below, 1.0)


@settings(max_examples=30)
@given(VOTES, st.integers(0, 1000))
def test_more_agreement_never_means_less_credibility(parameters: VoteParameters, seed: int) -> None:
    index, (held, labels) = index_of(60, seed), drawn(40, seed + 1)
    outcome = voted(index, held, parameters)
    calibration = calibrate(outcome.shares, outcome.labels, labels)
    unanimous = np.eye(CLASSES)[outcome.labels]
    more, less = (credibility(shares, outcome.labels, calibration) for shares in (unanimous, outcome.shares))
    assert (more[0] >= less[0]).all()
    assert (more[1] >= less[1]).all()


@pytest.mark.parametrize("weighting", ["uniform", "exponential"])
def test_neighbours_that_were_not_found_never_make_an_answer_more_credible(weighting: str) -> None:
    parameters = VoteParameters(k=4, weighting=weighting, temperature=0.1)
    near = np.full((4, 4), -np.inf, dtype=np.float32)
    labels = np.full((4, 4), -1)
    for row, found in enumerate((4, 3, 1, 0)):
        near[row, :found] = np.linspace(0.9, 0.8, 4)[:found]
        labels[row, :found] = 1
    outcome = vote(near, labels, 2, parameters)
    calibration = Calibration(nonconformity=(0, 0.1, 0.2, 0.3, 0.6, 0.9), **OPEN)
    credible, confident = credibility(outcome.shares, outcome.labels, calibration)
    assert (np.diff(credible) < 0).all()
    # Of no neighbour there is nothing to say: no label fits, whichever is written down.
    assert credible[-1] == 1 / 7
    assert confident[-1] == 1 - 1 / 7


def test_a_class_without_exemplars_is_as_strange_as_can_be() -> None:
    index = index_of(200, 0, chances=(0.5, 0.5, 0, 0))
    held, labels = drawn(300, 1)
    calibration = calibrate_retriever(index, UNIFORM, held, labels, classes=CLASSES)
    absent = int((labels >= 2).sum())
    assert calibration.nonconformity[-absent:] == (1.0,) * absent
    fresh, _ = drawn(50, 2)
    p = p_values(voted(index, fresh, UNIFORM).shares, calibration)
    assert (p[:, 2:] == (1 + calibration.nonconformity.count(1)) / 301).all()
    assert (p.min(axis=1, keepdims=True) == p[:, 2:]).all()


def test_sums_in_another_order_change_no_p_value() -> None:
    """Equal votes are equal although their float sums differ in the last digits."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 10, (500, 3)) + np.array([1, 0, 0])
    exact = counts / counts.sum(1, keepdims=True)
    calibration = calibrate(exact, exact.argmax(1), rng.integers(0, 3, 500))
    shaken = exact * (1 + rng.uniform(-1e-12, 1e-12, exact.shape))
    np.testing.assert_array_equal(p_values(shaken, calibration), p_values(exact, calibration))


def test_a_calibration_survives_being_written() -> None:
    index, (held, labels) = index_of(60, 0), drawn(200, 1)
    calibration = calibrate_retriever(
        index, VoteParameters(k=9, weighting="exponential", temperature=0.07), held, labels, classes=CLASSES
    )
    assert Calibration.model_validate_json(calibration.model_dump_json()) == calibration


@pytest.mark.parametrize("wrong", [(), (0.5, 0.4), (-0.1, 0.5), (0.5, 1.5), (float("nan"),), (0, 1, 2)])
def test_what_is_no_calibration_is_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="nonconformity"):
        Calibration(nonconformity=wrong, **OPEN)


def test_nothing_to_calibrate_on_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        calibrate(np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros(0, np.int64))


@settings(max_examples=25, deadline=None)
@given(VOTES, st.integers(0, 100))
def test_leaving_out_each_exemplar_once_is_an_index_without_it(parameters, seed):
    embeddings, labels = drawn(60, seed)
    ids = np.random.default_rng(seed).permutation(200)[:60]
    asked = Bank(embeddings[::7], ids[::7], labels[::7])
    found = calibrate_left_out(FlatIndex.build(Bank(embeddings, ids, labels)), parameters, asked, classes=CLASSES)
    shares, answers = [], []
    for row in range(0, 60, 7):
        others = np.delete(np.arange(60), row)
        without = FlatIndex.build(Bank(embeddings[others], ids[others], labels[others]))
        near = nearest(without, embeddings[[row]], parameters.k)
        outcome = vote(near.similarities, near.labels, CLASSES, parameters)
        shares.append(outcome.shares[0])
        answers.append(outcome.labels[0])
    expected = calibrate(np.array(shares), np.array(answers), labels[::7])
    np.testing.assert_allclose(found.nonconformity, expected.nonconformity, atol=1e-4)
    assert found.left_out is not None
    assert (found.left_out.images, found.left_out.right) == (9, int((np.array(answers) == labels[::7]).sum()))
    assert len(found.kth_distances) == 9
