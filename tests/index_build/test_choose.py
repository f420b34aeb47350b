import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.index_build.choose import (
    AGREEMENT,
    KS,
    MOST_LEAD,
    TEMPERATURES,
    Candidate,
    HeldOut,
    candidates,
    choose,
    surrogates,
    votes_to_try,
)
from holdfast.intervals import Rate
from holdfast.model.reach import reach_of
from holdfast.model.retrieval.base import Bank
from holdfast.model.retrieval.flat import FlatIndex
from holdfast.model.vote import VoteParameters

N, CLASSES, DIM = 120, 3, 8


def cloud(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    middles = np.random.default_rng(99).normal(size=(CLASSES, DIM))
    labels = rng.integers(0, CLASSES, count)
    z = (middles[labels] + rng.normal(size=(count, DIM))).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True), labels


def compared(count: int, bank_size: int) -> tuple[np.ndarray, np.ndarray, HeldOut, tuple[Candidate, ...]]:
    """Everything that `candidates` sees, and what it says; as many attacks as two, of the first half."""
    bank, bank_labels = cloud(0, bank_size)
    z, labels = cloud(1, count)
    attacked = tuple(cloud(seed, count // 2)[0] for seed in (2, 3))
    exemplars, held_out = Bank(bank, np.arange(bank_size), bank_labels), HeldOut(z, labels, attacked)
    counts = np.bincount(bank_labels, minlength=CLASSES)
    tried = candidates(FlatIndex.build(exemplars), surrogates(exemplars, CLASSES), held_out, counts)
    return bank, bank_labels, held_out, tried


def test_candidates_are_what_a_plain_count_says() -> None:
    bank, bank_labels, held_out, tried = compared(50, N)
    ks = [k for k in KS if k <= N]
    assert [(c.parameters.k, c.parameters.temperature) for c in tried] == [(k, t) for t in TEMPERATURES for k in ks]

    def voted(z: np.ndarray, k: int, t: float) -> np.ndarray:
        answers = []
        for row in np.round(z @ bank.T, 5):
            near = np.argsort(-row, kind="stable")[:k]
            answers.append(np.bincount(bank_labels[near], np.exp((row[near] - 1) / t), CLASSES).argmax())
        return np.array(answers)

    z, labels = held_out.embeddings, held_out.labels
    for each in tried:
        k, t = each.parameters.k, each.parameters.temperature
        right = voted(z, k, t) == labels
        withstood = right[:25] & np.all([voted(part, k, t) == labels[:25] for part in held_out.attacked], axis=0)
        assert each.accuracy == Rate(int(right.sum()), 50)
        assert each.robust == Rate(int(withstood.sum()), 25)
        assert each.agreement == Rate(int((voted(z, k, t) == voted(z, N, t)).sum()), 50)
        assert each.balanced == pytest.approx(np.mean([right[labels == c].mean() for c in range(CLASSES)]))
        assert each.balanced_robust == pytest.approx(np.mean([withstood[labels[:25] == c].mean() for c in range(CLASSES)]))


def test_all_neighbours_are_the_surrogate_itself() -> None:
    *_, tried = compared(40, 100)
    assert {each.agreement.value for each in tried if each.parameters.k == 100} == {1.0}


def test_an_index_smaller_than_every_k_votes_with_all_it_has() -> None:
    *_, tried = compared(6, 7)
    assert {each.parameters.k for each in tried} <= {1, 3, 5}  # for its classes of one or two


@given(
    st.lists(st.integers(0, 300), min_size=2, max_size=6).filter(lambda counts: sum(counts) > 15), st.sampled_from(TEMPERATURES)
)
def test_no_vote_is_tried_that_gives_a_small_class_up(counts, temperature) -> None:
    counts = np.array(counts)
    tried = votes_to_try(counts, temperature)
    assert tried
    assert all(parameters.k <= counts.sum() for parameters in tried)
    leads = [max(one.lead for one in reach_of(counts, parameters) if one.exemplars) for parameters in tried]
    assert max(leads) <= MOST_LEAD or max(leads) == min(leads)
    if counts[counts > 0].min() >= 8:
        assert tried[0].k == KS[0]


def test_a_class_of_six_may_still_be_answered() -> None:
    assert max(each.k for each in votes_to_try(np.array([60, 60, 6]), 0.02)) == 100
    assert max(each.k for each in votes_to_try(np.array([6000, 6000, 6]), 0.05)) <= 1000
    assert max(each.k for each in votes_to_try(np.array([6000, 6000, 6]), 0.1, 1.0)) == 2000


def test_a_vote_that_gives_a_class_up_is_not_taken() -> None:
    fair = Candidate(VoteParameters(k=25), Rate(180, 200), Rate(90, 100), Rate(200, 200), 0.9, 0.9)
    unfair = Candidate(VoteParameters(k=75), Rate(184, 200), Rate(92, 100), Rate(200, 200), 0.6, 0.6)
    assert choose([unfair, fair]) is fair


def candidate(k: int, right: int, withstood: int, same: int) -> Candidate:
    return Candidate(VoteParameters(k=k), Rate(right, 200), Rate(withstood, 100), Rate(same, 200), right / 200, withstood / 100)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(KS), st.integers(0, 200), st.integers(0, 100), st.integers(190, 200)),
        min_size=1,
        max_size=12,
    )
)
def test_the_best_mean_of_those_that_agree(cases) -> None:
    tried = [candidate(*case) for case in cases]
    best = choose(tried)
    enough = [each for each in tried if each.agreement.value >= AGREEMENT]
    if enough:
        assert best.agreement.value >= AGREEMENT
        assert best.accuracy.value + best.robust.value == max(each.accuracy.value + each.robust.value for each in enough)
    else:
        assert best.agreement.successes == max(each.agreement.successes for each in tried)


def test_a_sharp_vote_that_falls_to_attacks_is_not_taken() -> None:
    sharp, broad = candidate(75, right=160, withstood=40, same=200), candidate(1000, right=150, withstood=55, same=200)
    assert choose([sharp, broad]) is broad


def test_equally_good_ones_need_fewer_neighbours() -> None:
    many, few = (candidate(k, 9, 9, 200) for k in (75, 25))
    assert choose([many, few]) is choose([few, many]) is few


def test_thresholds_are_those_of_the_evaluations_sanity_check() -> None:
    checks = pytest.importorskip("holdfast.evaluation.sanity.checks")
    assert checks.AGREEMENT == AGREEMENT
