import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.index import FlatIndex
from bundle.intervals import Rate
from bundle.vote import VoteParameters
from index_build.choose import AGREEMENT, KS, TEMPERATURES, Candidate, candidates, choose

N, CLASSES, DIM = 120, 3, 8


def cloud(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    middles = np.random.default_rng(99).normal(size=(CLASSES, DIM))
    labels = rng.integers(0, CLASSES, count)
    z = (middles[labels] + rng.normal(size=(count, DIM))).astype(np.float32)
    return z / np.linalg.norm(z, axis=1, keepdims=True), labels


def test_candidates_are_what_a_plain_count_says() -> None:
    bank, bank_labels = cloud(0, N)
    z, labels = cloud(1, 50)
    tried = candidates(FlatIndex.build(bank, np.arange(N)), bank_labels, z, labels, CLASSES)
    ks = [k for k in KS if k <= N]
    assert [(c.parameters.k, c.parameters.temperature) for c in tried] == [(k, t) for t in TEMPERATURES for k in ks]
    similarities = np.round(z @ bank.T, 5)
    for each in tried:
        k, t = each.parameters.k, each.parameters.temperature
        right = same = 0
        for row, label in zip(similarities, labels, strict=True):
            weights = np.exp((row - 1) / t)
            near = np.argsort(-row, kind="stable")[:k]
            voted = np.bincount(bank_labels[near], weights[near], CLASSES).argmax()
            right += voted == label
            same += voted == np.bincount(bank_labels, weights, CLASSES).argmax()
        assert (each.accuracy.successes, each.agreement.successes) == (right, same)


def test_all_neighbours_are_the_surrogate_itself() -> None:
    bank, bank_labels = cloud(0, 100)
    z, labels = cloud(1, 40)
    tried = candidates(FlatIndex.build(bank, np.arange(100)), bank_labels, z, labels, CLASSES)
    assert {each.agreement.value for each in tried if each.parameters.k == 100} == {1.0}


def test_an_index_smaller_than_every_k_votes_with_all_it_has() -> None:
    bank, bank_labels = cloud(0, 7)
    z, labels = cloud(1, 5)
    assert {c.parameters.k for c in candidates(FlatIndex.build(bank, np.arange(7)), bank_labels, z, labels, CLASSES)} == {7}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(KS), st.integers(0, 200), st.integers(190, 200)), min_size=1, max_size=12))
def test_the_most_accurate_of_those_that_agree(cases) -> None:
    tried = [Candidate(VoteParameters(k=k), Rate(right, 200), Rate(same, 200)) for k, right, same in cases]
    best = choose(tried)
    enough = [each for each in tried if each.agreement.value >= AGREEMENT]
    if enough:
        assert best.agreement.value >= AGREEMENT
        assert best.accuracy.successes == max(each.accuracy.successes for each in enough)
    else:
        assert best.agreement.successes == max(each.agreement.successes for each in tried)


def test_equally_good_ones_need_fewer_neighbours() -> None:
    many, few = (Candidate(VoteParameters(k=k), Rate(9, 10), Rate(10, 10)) for k in (75, 25))
    assert choose([many, few]) is choose([few, many]) is few


def test_thresholds_are_those_of_the_evaluations_gate() -> None:
    gates = pytest.importorskip("trainer.evaluate.gates")
    assert gates.AGREEMENT == AGREEMENT
