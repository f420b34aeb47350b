"""SimCLR's loss, held against its formula."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.trainer.augment import STRONG, WEAK
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import ImageBatch, SimclrConfig, build_objective
from holdfast.trainer.objectives.contrastive.simclr import nt_xent


def slow_nt_xent(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    """Equation 1 of the paper, one number at a time."""
    n = len(first)
    z = [v / np.linalg.norm(v) for v in np.concatenate([first, second]).astype(np.float64)]
    losses = []
    for i in range(2 * n):
        partner = i + n if i < n else i - n
        others = sum(math.exp(float(z[i] @ z[k]) / temperature) for k in range(2 * n) if k != i)
        losses.append(-math.log(math.exp(float(z[i] @ z[partner]) / temperature) / others))
    return sum(losses) / len(losses)


def pair(seed: int, n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator), torch.randn(n, d, generator=generator)


@given(seed=st.integers(0, 9999), n=st.integers(2, 5), d=st.integers(1, 6), temperature=st.floats(0.05, 2))
@settings(max_examples=40)
def test_it_is_the_formula_of_the_paper(seed, n, d, temperature) -> None:
    first, second = pair(seed, n, d)
    expected = slow_nt_xent(first.numpy(), second.numpy(), temperature)
    assert nt_xent(first, second, temperature=temperature).item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(seed=st.integers(0, 9999), scale=st.floats(0.01, 100))
@settings(max_examples=20)
def test_neither_order_nor_lengths_nor_which_view_is_first_matter(seed, scale) -> None:
    first, second = pair(seed, 5, 4)
    loss = nt_xent(first, second, temperature=0.5)
    torch.testing.assert_close(nt_xent(second, first, temperature=0.5), loss)
    torch.testing.assert_close(nt_xent(first * scale, second, temperature=0.5), loss)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(nt_xent(first[order], second[order], temperature=0.5), loss)


def test_its_bounds() -> None:
    """Alike among strangers: -1/t + log(e^{1/t} + 2(N-1)); where all are alike, log(2N-1)."""
    own = torch.eye(4)
    assert nt_xent(own, own, temperature=0.5).item() == pytest.approx(math.log(math.exp(2) + 6) - 2, rel=1e-5)
    assert nt_xent(torch.ones(4, 3), torch.ones(4, 3), temperature=0.1).item() == pytest.approx(math.log(7), rel=1e-5)
    assert nt_xent(own, own.flip(0), temperature=0.5) > nt_xent(own, own, temperature=0.5)


def test_it_is_float32_in_mixed_precision() -> None:
    first, second = pair(0, 4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = nt_xent(first.bfloat16(), second.bfloat16(), temperature=0.05)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, nt_xent(first.bfloat16().float(), second.bfloat16().float(), temperature=0.05))


def test_the_two_views_of_an_image_are_drawn_apart_and_of_one_image() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8))
    seen: list[torch.Tensor] = []
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = ImageBatch.whole(torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8), torch.zeros(6))
    mirrored = replace(WEAK, translate=0, flip=0.5)
    build_objective(SimclrConfig(augment=mirrored), encoder, 2).terms(encoder, batch, torch.Generator().manual_seed(1))
    one, other = seen[0].chunk(2)
    same = [torch.equal(a, b) for a, b in zip(one, other, strict=True)]
    assert 0 < sum(same) < 6
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(2)) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("change", [{"temperature": 0.0}, {"hidden": 0}, {"projection": -1}])
def test_what_cannot_be_is_refused(change) -> None:
    with pytest.raises(ValueError, match="SimCLR needs"):
        SimclrConfig(**change)


def test_a_little_of_it_brings_views_together(digits) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16)).train()
    objective = build_objective(
        SimclrConfig(hidden=16, projection=8, temperature=0.2, augment=replace(STRONG, crop=0.6)), encoder, 2
    ).train()
    images = torch.from_numpy(digits.train.images[:32])
    optimiser = torch.optim.Adam([*encoder.parameters(), *objective.parameters()], 1e-2)
    losses = []
    for step in range(30):
        optimiser.zero_grad()
        loss = objective.terms(encoder, ImageBatch.whole(images, torch.zeros(32)), torch.Generator().manual_seed(step))[
            "nt_xent"
        ]
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])
