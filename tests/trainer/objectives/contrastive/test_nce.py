"""AMDIM's noise-contrastive estimate, held against the formula of the paper."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.trainer.objectives.contrastive.nce import multiscale_nce, nce, one_location


def slow_nce(sources: torch.Tensor, targets: torch.Tensor, clip: float) -> tuple[float, float]:
    """The formula of the paper, one number at a time."""
    n, d, locations = targets.shape
    losses, squares = [], []
    for i in range(n):
        scores = [[float(sources[i] @ targets[j, :, m]) / math.sqrt(d) for m in range(locations)] for j in range(n)]
        squares += [s * s for row in scores for s in row]
        clipped = [[clip * math.tanh(s / clip) for s in row] for row in scores]
        others = sum(math.exp(s) for j in range(n) if j != i for s in clipped[j])
        losses += [-math.log(math.exp(s) / (math.exp(s) + others)) for s in clipped[i]]
    return sum(losses) / len(losses), sum(squares) / len(squares)


@given(n=st.integers(2, 4), d=st.integers(1, 5), locations=st.integers(1, 4), scale=st.floats(0.1, 20))
@settings(max_examples=30)
def test_nce_is_the_formula_of_the_paper(n: int, d: int, locations: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(n * 100 + d * 10 + locations)
    sources = scale * torch.randn(n, d, generator=generator)
    targets = torch.randn(n, d, locations, generator=generator)
    loss, squares = nce(sources, targets)
    expected = slow_nce(sources.double(), targets.double(), 20.0)
    assert loss.item() == pytest.approx(expected[0], rel=1e-4, abs=1e-5)
    assert squares.item() == pytest.approx(expected[1], rel=1e-4, abs=1e-6)


def test_nce_rewards_knowing_ones_own_and_is_exact_in_mixed_precision() -> None:
    own = 8 * torch.eye(4)
    right, _ = nce(own, own[:, :, None])
    wrong, _ = nce(own, own.flip(0)[:, :, None])
    assert right < 1e-3
    assert wrong > 1
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nce(own, own[:, :, None])[0], right)


def test_the_pairs_of_scales_go_both_ways_and_are_halved() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = ({k: torch.randn(3, 4, s, s, generator=generator) for k, s in ((1, 1), (5, 2), (7, 3))} for _ in "ab")
    terms = multiscale_nce(first, second, torch.Generator().manual_seed(1))
    seeded = torch.Generator().manual_seed(1)
    ways = [(first, second), (second, first)]
    by_hand = [
        (nce(a[1].flatten(1), b[5].flatten(2)), nce(a[1].flatten(1), b[7].flatten(2)),
         nce(one_location(a[5], seeded), b[5].flatten(2)))
        for a, b in ways
    ]  # fmt: skip
    for column, name in enumerate(("1to5", "1to7", "5to5")):
        assert terms[name].item() == pytest.approx(sum(way[column][0].item() for way in by_hand) / 2)
    assert terms["scores"].item() == pytest.approx(sum(pair[1].item() for way in by_hand for pair in way) / 2)
