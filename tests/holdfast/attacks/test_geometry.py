import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.attacks.geometry import geometry_of
from holdfast.bundle.threat_model import Norm, ThreatModel

NORMS = st.sampled_from(["linf", "l2"])


def norm_of(batch: torch.Tensor, norm: Norm) -> torch.Tensor:
    flat = batch.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


@given(
    threat=st.one_of(st.tuples(st.just("linf"), st.floats(0, 1)), st.tuples(st.just("l2"), st.floats(0, 2))),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40)
def test_start_and_projection_stay_in_the_ball_and_in_the_image(threat: tuple[Norm, float], seed: int) -> None:
    norm, epsilon = threat
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(3, 3, 4, 4, generator=generator)
    geometry = geometry_of(ThreatModel(norm, epsilon))
    outside = clean + 3 * torch.randn(clean.shape, generator=generator)
    for points in (geometry.random_start(clean, generator), geometry.project(outside, clean)):
        assert points.min() >= 0
        assert points.max() <= 1
        assert norm_of(points - clean, norm).max() <= epsilon + 1e-5


@given(norm=NORMS, seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_projection_leaves_what_is_inside_and_is_idempotent(norm: Norm, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    clean = 0.5 + 0.1 * torch.rand(2, 3, 4, 4, generator=generator)
    geometry = geometry_of(ThreatModel(norm, 0.3))
    inside = geometry.random_start(clean, generator)
    assert torch.allclose(geometry.project(inside, clean), inside, atol=1e-6)
    far = clean + torch.randn(clean.shape, generator=generator)
    once = geometry.project(far, clean)
    assert torch.allclose(geometry.project(once, clean), once, atol=1e-6)


@given(norm=NORMS, seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_no_move_of_the_same_length_gains_more_than_the_step(norm: Norm, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    clean, gradient = torch.full((4, 3, 4, 4), 0.5), torch.randn(4, 3, 4, 4, generator=generator)
    geometry = geometry_of(ThreatModel(norm, 1.0))
    move = geometry.step(clean, gradient, 0.1) - clean
    assert torch.allclose(norm_of(move, norm), torch.full((4,), 0.1), atol=1e-6)
    other = torch.randn(4, 3, 4, 4, generator=generator)
    other = other * (0.1 / norm_of(other, norm))[:, None, None, None]
    assert ((move * gradient).flatten(1).sum(1) >= (other * gradient).flatten(1).sum(1) - 1e-6).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_zero_gradient_moves_nothing(norm: Norm) -> None:
    clean = torch.full((2, 3, 4, 4), 0.5)
    stepped = geometry_of(ThreatModel(norm, 0.1)).step(clean, torch.zeros_like(clean), 0.1)
    assert torch.equal(stepped, clean)


def test_l2_start_is_uniform_in_the_ball_not_on_its_centre() -> None:
    clean = torch.full((2000, 1, 2, 1), 0.5)
    points = geometry_of(ThreatModel("l2", 0.4)).random_start(clean, torch.Generator().manual_seed(0))
    radius = (points - clean).flatten(1).norm(dim=1) / 0.4
    # In two dimensions a quarter of the area lies within half the radius.
    assert (radius < 0.5).float().mean().item() == pytest.approx(0.25, abs=0.03)
