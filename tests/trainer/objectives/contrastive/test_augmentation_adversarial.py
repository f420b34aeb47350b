"""The prototypical loss against its formula, whom the discriminator's gradient reaches, and which views are compared."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import HoldfastError
from holdfast.trainer.augment import STRONG
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import AugmentationAdversarialConfig, ImageBatch, build_objective
from holdfast.trainer.objectives.contrastive.augmentation_adversarial import prototypical, reversed_gradient
from holdfast.trainer.objectives.contrastive.channel_views import CameraViews, SpeechViews, blurred
from tests.trainer.objectives.batches import STILL, batch

ENCODER = ResNetConfig(4, 1, 8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bank(sessions: int = 4, profiles: int = 3) -> ImageBatch:
    """Pictures whose top row says which session, profile and segment each is."""
    count = sessions * profiles * 2
    images = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=seeded(1))
    at = torch.arange(count)
    for column, number in enumerate((at // (2 * profiles), at % (2 * profiles) // 2, at % 2)):
        images[:, 0, column] = number[:, None].to(torch.uint8)
    return ImageBatch.whole(images, at // (2 * profiles) % 2)


def said(pixels: torch.Tensor) -> np.ndarray:
    return (pixels[:, 0, 0, :3] * 255).round().int().numpy()


def slow_prototypical(anchor: np.ndarray, other: np.ndarray, session: np.ndarray, w: float, b: float) -> float:
    losses = []
    for i in range(len(anchor)):
        scores = {}
        for j in range(len(other)):
            if j == i or session[j] != session[i]:
                cosine = anchor[i] @ other[j] / np.linalg.norm(anchor[i]) / np.linalg.norm(other[j])
                scores[j] = math.exp(w * cosine + b)
        losses.append(-math.log(scores[i] / sum(scores.values())))
    return sum(losses) / len(losses)


@given(seed=st.integers(0, 9999), n=st.integers(2, 6), w=st.floats(0.5, 20), b=st.floats(-6, 6))
@settings(max_examples=40)
def test_it_is_the_formula_of_the_paper_without_prototypes_of_ones_own_session(seed: int, n: int, w: float, b: float) -> None:
    generator = seeded(seed)
    anchor, other = torch.randn(2, n, 5, generator=generator)
    session = torch.randint(0, 3, (n,), generator=generator)
    expected = slow_prototypical(anchor.double().numpy(), other.double().numpy(), session.numpy(), w, b)
    found = prototypical(anchor, other, session, scale=torch.tensor(w), offset=torch.tensor(b))
    assert found.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_reversed_gradient_is_that_and_changes_no_value() -> None:
    values = torch.tensor([1.0, -2.0], requires_grad=True)
    out = reversed_gradient(values, 3.0)
    assert torch.equal(out, values)
    (out**2).sum().backward()
    torch.testing.assert_close(values.grad, -3.0 * torch.tensor([2.0, -4.0]))


def gradients(weight: float, term: str) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Of the encoder and of the discriminator, by one term alone."""
    torch.manual_seed(0)
    encoder = build_encoder(ENCODER)
    objective = build_objective(AugmentationAdversarialConfig(weight=weight, hidden=8, views=SpeechViews(3)), encoder, 2)
    whole = bank()
    objective.prepare(encoder, whole, 1)
    terms = objective.terms(encoder, whole.at(torch.tensor([0, 7, 14, 21])), seeded())
    terms[term].backward()

    def of(module: torch.nn.Module) -> list[torch.Tensor]:
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]

    return of(encoder), of(objective.discriminator)


def test_one_backward_pass_teaches_the_discriminator_and_turns_the_encoder_against_it() -> None:
    weak_encoder, weak_discriminator = gradients(1.0, "discriminator")
    encoder, discriminator = gradients(3.0, "discriminator")
    for one, other in zip(weak_discriminator, discriminator, strict=True):
        torch.testing.assert_close(one, other)
    assert any(gradient.abs().sum() > 0 for gradient in discriminator)
    for one, other in zip(weak_encoder, encoder, strict=True):
        torch.testing.assert_close(3 * one, other, rtol=1e-3, atol=1e-6)
    none, still = gradients(0.0, "discriminator")
    assert all(not gradient.any() for gradient in none)
    for one, other in zip(still, discriminator, strict=True):
        torch.testing.assert_close(one, other)
    _, untaught = gradients(3.0, "prototypical")
    assert all(not gradient.any() for gradient in untaught)


def test_views_of_speech_are_two_segments_under_one_profile_and_one_of_them_under_another() -> None:
    whole = bank()
    rows = torch.arange(len(whole.images))
    views = SpeechViews(3).draw(whole.at(rows), whole.images, seeded())
    session, profile, segment = said(views.anchor).T
    np.testing.assert_array_equal(session, views.session)
    np.testing.assert_array_equal(said(views.anchor), said(whole.pixels()))
    np.testing.assert_array_equal(said(views.same), np.stack([session, profile, 1 - segment], 1))
    other = said(views.other)
    np.testing.assert_array_equal(other[:, [0, 2]], np.stack([session, 1 - segment], 1))
    assert (other[:, 1] != profile).all()
    assert set(other[:, 1]) == {0, 1, 2}
    plain = SpeechViews(3, augmented=False).draw(whole.at(rows), whole.images, seeded())
    assert not said(plain.anchor)[:, 1].any()
    assert torch.equal(plain.same, plain.other)


def test_a_set_that_is_no_bank_is_refused() -> None:
    encoder = build_encoder(ENCODER)
    objective = build_objective(AugmentationAdversarialConfig(hidden=8, views=SpeechViews(3)), encoder, 2)
    objective.prepare(encoder, bank(), 1)
    short, mixed = bank(), bank()
    mixed.labels[3] = 1 - mixed.labels[3]
    for other in (batch(16), short.at(torch.arange(len(short) - 1)), mixed):
        with pytest.raises(HoldfastError, match=r"(?s)--data\s+sessions"):
            objective.prepare(encoder, other, 1)
    assert SpeechViews(16).min_images() == 64


def test_cameras_are_the_same_for_both_segments() -> None:
    images = batch(8)
    still = CameraViews(STILL, blur=0.0, noise=0.0)
    for each in still.draw(images, images.images, seeded())[:3]:
        torch.testing.assert_close(each, images.pixels(), atol=1e-5, rtol=0)
    tinted = CameraViews(replace(STILL, brightness=0.6, contrast=0.5, jitter_chance=1.0), blur=0.0, noise=0.0)
    views = tinted.draw(images, images.images, seeded())
    torch.testing.assert_close(views.anchor, views.same)
    assert (views.other - views.same).abs().mean() > 0.02
    assert torch.equal(views.session, images.rows)
    plain = replace(tinted, augmented=False).draw(images, images.images, seeded())
    torch.testing.assert_close(plain.other, images.pixels())


def test_a_blur_keeps_flat_images_and_spreads_points() -> None:
    flat = torch.full((2, 3, 9, 9), 0.25)
    torch.testing.assert_close(blurred(flat, torch.tensor([0.0, 2.0])), flat)
    point = torch.zeros(2, 3, 13, 13)
    point[:, :, 6, 6] = 1
    spread = blurred(point, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(spread[0], point[0])
    assert spread[1, 0, 6, 7].item() == pytest.approx(math.exp(-0.5) / (2 * math.pi), abs=2e-3)


@pytest.mark.parametrize(
    "views", [SpeechViews(3), SpeechViews(3, augmented=False), CameraViews(STRONG), CameraViews(STRONG, augmented=False)]
)
def test_losses_are_numbers_that_repeat_by_seed(views: SpeechViews | CameraViews) -> None:
    encoder = build_encoder(ENCODER)
    objective = build_objective(AugmentationAdversarialConfig(hidden=8, views=views), encoder, 2)
    whole = bank()
    objective.prepare(encoder, whole, 1)
    assert objective.min_images <= len(whole)
    first, again = (objective.terms(encoder, whole.at(torch.tensor([1, 9, 17])), seeded(5)) for _ in range(2))
    assert set(first) == {"prototypical", "discriminator"} == set(objective.names)
    for name, term in first.items():
        assert term.isfinite()
        assert term.dtype == torch.float32
        torch.testing.assert_close(term, again[name])


@pytest.mark.parametrize("change", [{"weight": -1.0}, {"hidden": 0}, {"scale": 0.0}])
def test_what_cannot_be_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        AugmentationAdversarialConfig(**change)
    with pytest.raises(ValueError, match="profiles"):
        SpeechViews(1)
    with pytest.raises(ValueError, match="blur"):
        CameraViews(blur=9.0)
