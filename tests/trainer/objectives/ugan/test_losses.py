"""Each term of UGAN's losses against a plain reference."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.trainer.objectives.ugan import losses


def numbers(*shape: int, seed: int = 0, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def bce(score: float, target: int) -> float:
    probability = 1 / (1 + math.exp(-score))
    return -math.log(probability if target else 1 - probability)


@pytest.mark.parametrize("seed", range(3))
def test_the_classifiers_terms(seed) -> None:
    logits = numbers(7, 4, seed=seed)
    rows = [softmax(row) for row in logits.double().tolist()]
    # The entropy as the authors write it: E[ -sum p l + LSE ].
    expected = sum(
        -sum(p * value for p, value in zip(row, line, strict=True)) + math.log(sum(math.exp(value) for value in line))
        for row, line in zip(rows, logits.double().tolist(), strict=True)
    )
    assert losses.entropy(logits).item() == pytest.approx(expected / 7, rel=1e-5)
    means = [sum(row[j] for row in rows) / 7 for j in range(4)]
    assert losses.imbalance(logits).item() == pytest.approx(-sum(math.log(mean) / 4 for mean in means), rel=1e-5)
    scores = [math.log(sum(math.exp(value) for value in line)) for line in logits.double().tolist()]
    assert losses.real(logits).item() == pytest.approx(sum(bce(score, 1) for score in scores) / 7, rel=1e-5)
    assert losses.generated(logits).item() == pytest.approx(sum(bce(score, 0) for score in scores) / 7, rel=1e-5)
    judged = numbers(7, seed=seed + 10)
    expected = sum(max(row) * bce(score, 1) for row, score in zip(rows, judged.double().tolist(), strict=True)) / 7
    assert losses.fooling(logits, judged).item() == pytest.approx(expected, rel=1e-5)


def test_the_real_score_is_that_of_a_further_class_whose_logit_is_nothing() -> None:
    logits = numbers(5, 3)
    with_another = torch.log_softmax(torch.cat([logits, torch.zeros(5, 1)], 1), 1)
    assert losses.generated(logits).item() == pytest.approx(-with_another[:, 3].mean().item(), rel=1e-5)
    real = with_another[:, :3].logsumexp(1)
    assert losses.real(logits).item() == pytest.approx(-real.mean().item(), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_discriminators_terms(seed) -> None:
    scores = numbers(9, seed=seed)
    values = scores.double().tolist()
    assert losses.believed(scores).item() == pytest.approx(sum(bce(value, 1) for value in values) / 9, rel=1e-5)
    assert losses.doubted(scores).item() == pytest.approx(sum(bce(value, 0) for value in values) / 9, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_bad_generators_terms(seed) -> None:
    made, seen = numbers(6, 5, seed=seed), numbers(4, 5, seed=seed + 10)
    columns = [(made[:, j].tolist(), seen[:, j].tolist()) for j in range(5)]
    expected = sum(abs(sum(a) / 6 - sum(b) / 4) for a, b in columns) / 5
    assert losses.feature_matching(made, seen).item() == pytest.approx(expected, rel=1e-5)
    cosines = [[(a @ b / (a.norm() * b.norm())).item() for b in made] for a in made]
    squared = sum(cosines[i][j] ** 2 for i in range(6) for j in range(6) if i != j) / (6 * 5)
    assert losses.pull_away(made, "squared").item() == pytest.approx(squared, rel=1e-4)
    assert losses.pull_away(made, "mean").item() == pytest.approx(sum(map(sum, cosines)) / 36, rel=1e-4)


@given(st.integers(2, 20), st.integers(1, 8), st.integers(0, 100))
def test_pull_away_is_bounded_and_largest_where_all_are_alike(n, dim, seed) -> None:
    features = numbers(n, dim, seed=seed)
    for form in ("squared", "mean"):
        assert -1e-5 <= losses.pull_away(features, form).item() <= 1 + 1e-5
        assert losses.pull_away(features[:1].repeat(n, 1), form).item() == pytest.approx(1, abs=1e-4)


def test_a_class_that_nobody_answers_costs_much_and_no_more() -> None:
    logits = torch.tensor([[200.0, 0.0], [200.0, 0.0]], requires_grad=True)
    loss = losses.imbalance(logits)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
