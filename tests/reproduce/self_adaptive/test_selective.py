"""Ranking answers by a score, and attacks that aim at it."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.bundle.threat_model import ThreatModel
from holdfast.data import Splits, load
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from reproduce.networks import TrainedNetwork
from reproduce.robust import robust_right
from reproduce.self_adaptive.selective import (
    ABSTAIN,
    CREDIBILITY,
    SOFTMAX,
    areas,
    read_scores,
    running_errors,
    selective_figures,
)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=5))
def test_errors_over_coverage_are_the_mean_over_all_orders_of_equal_scores(answers) -> None:
    wrong, scores = (np.array(column) for column in zip(*answers, strict=True))
    orders = [order for order in permutations(range(len(answers))) if (np.diff(scores[list(order)]) <= 0).all()]
    means = [np.cumsum(wrong[list(order)]) / np.arange(1, len(answers) + 1) for order in orders]
    expected = np.mean(means, axis=0)
    assert running_errors(wrong.astype(bool), scores.astype(float)) == pytest.approx(expected)
    assert areas(wrong.astype(bool), scores.astype(float)) == pytest.approx(expected.mean())


def test_who_withholds_the_wrong_ones_first_has_the_smallest_area() -> None:
    wrong = np.arange(100) < 20
    found = [areas(wrong, scores) for scores in (np.arange(100.0), np.zeros(100), -np.arange(100.0))]
    assert found == sorted(found)
    assert found[1] == pytest.approx(0.2)


@pytest.fixture(scope="module")
def some() -> Splits:
    whole = load("digits", calibration=60)
    return Splits(whole.train.take(range(150)), whole.calibration, whole.test.take(range(60)))


@pytest.fixture(scope="module")
def network(some) -> TrainedNetwork:
    """A classifier of class means on random features: right more often than not."""
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16)).eval().requires_grad_(requires_grad=False)
    encoder.normalise.fit(torch.from_numpy(some.train.images))
    begun = TrainedNetwork(encoder, torch.zeros(11, 16), torch.zeros(11), 10)
    with torch.no_grad():
        pixels = torch.from_numpy(some.train.images).permute(0, 3, 1, 2).float() / 255
        embeddings, labels = encoder(pixels), torch.from_numpy(some.train.labels)
        means = torch.stack([embeddings[labels == label].mean(0) for label in range(10)])
    weight = torch.cat([2 * means, torch.zeros(1, 16)])
    bias = torch.cat([-means.square().sum(1), torch.full((1,), -means.square().sum(1).mean())])
    return TrainedNetwork(begun.encoder, weight, bias, 10)


def test_an_aimed_attack_only_gains_trust_in_wrong_answers(network, some) -> None:
    figures = selective_figures(network, some, 5, ThreatModel("linf", 4 / 255), 40)
    assert set(figures["scores"]) == {SOFTMAX, ABSTAIN, CREDIBILITY}
    rows = np.linspace(0, 59, 40).astype(int)
    for name in figures["scores"]:
        (wrong, scores), (after, moved) = (read_scores(figures, name, attacked=attacked) for attacked in (False, True))
        assert ((scores >= 0) & (scores <= 1)).all()
        assert (after >= wrong[rows]).all()
        assert (moved[wrong[rows]] >= scores[rows][wrong[rows]] - 1e-6).all()
        assert after.sum() > wrong[rows].sum()


def test_robust_images_are_some_of_the_right_ones_and_all_of_them_in_no_ball(network, some) -> None:
    plain = TrainedNetwork(network.encoder, network.weight[:10], network.bias[:10], 10)
    right = plain.answers(plain.look(some.test.images)[1]) == some.test.labels
    assert 0.2 < right.mean() < 1
    still = robust_right(plain, some.test, ThreatModel("linf", 0.0))
    assert np.array_equal(still, right)
    smaller, larger = (robust_right(plain, some.test, ThreatModel("linf", e / 255)) for e in (1, 8))
    assert (smaller <= right).all()
    assert larger.sum() < smaller.sum()
