from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.trainer.augment import STRONG, AugmentConfig, crop, recolour, shared_flip, translate, view

NOTHING = AugmentConfig(
    flip=0, translate=0, brightness=0, contrast=0, saturation=0, hue=0, jitter_chance=1, translate_chance=1, grey=0
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 3, 8, 10, generator=seeded(9))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20)
def test_views_are_images_again_and_repeat_by_seed(seed: int) -> None:
    config = AugmentConfig(rotate=20, zoom=0.3, crop=0.1, aspect=0.5)
    first, again = (view(images(), config, seeded(seed)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (6, 3, 8, 10)
    assert first.min() >= 0
    assert first.max() <= 1
    assert first.isfinite().all()


def test_turned_off_everything_is_the_image() -> None:
    assert torch.equal(shared_flip(view(images(), NOTHING, seeded()), NOTHING, seeded()), images())


def test_translation_is_numpy_reflection() -> None:
    config = replace(NOTHING, translate=3)
    moved = translate(images(40), config, seeded(3))
    rows, columns = torch.randint(-3, 4, (2, 40), generator=seeded(3))
    for before, after, row, column in zip(images(40).numpy(), moved.numpy(), rows, columns, strict=True):
        padded = np.pad(before, ((0, 0), (3, 3), (3, 3)), mode="reflect")
        expected = padded[:, 3 + row : 11 + row, 3 + column : 13 + column]
        assert np.array_equal(after, expected)


def test_flip_mirrors_about_half_and_never_where_it_is_off() -> None:
    flipped = shared_flip(images(200), replace(NOTHING, flip=0.5), seeded())
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, images(200), strict=True)]
    same = [torch.equal(a, b) for a, b in zip(flipped, images(200), strict=True)]
    assert 70 < sum(mirrored) < 130
    assert sum(mirrored) + sum(same) == 200


def test_grey_keeps_luma_and_drops_colour() -> None:
    grey = recolour(images(), replace(NOTHING, grey=1), seeded())
    luma = torch.einsum("c,nchw->nhw", torch.tensor([0.299, 0.587, 0.114]), images())
    for channel in range(3):
        assert torch.allclose(grey[:, channel], luma, atol=2e-4)


def test_hue_and_saturation_leave_grey_images_alone_and_luma_everywhere() -> None:
    config = replace(NOTHING, hue=0.5, saturation=0.9)
    grey = images()[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(recolour(grey, config, seeded()), grey, atol=2e-3)
    pale = 0.45 + 0.1 * images()  # far from clipping
    weights = torch.tensor([0.299, 0.587, 0.114])
    turned = recolour(pale, config, seeded())
    assert not torch.allclose(turned, pale, atol=1e-2)
    assert torch.allclose(torch.einsum("c,nchw", weights, turned), torch.einsum("c,nchw", weights, pale), atol=1e-4)


def test_a_full_turn_of_hue_is_no_change() -> None:
    pale = 0.45 + 0.1 * images(1)
    config = replace(NOTHING, hue=1e-9)
    assert torch.allclose(recolour(pale, config, seeded()), pale, atol=1e-5)


def test_brightness_scales_and_contrast_turns_about_the_mean() -> None:
    dim = 0.4 + 0.1 * images()
    brighter = recolour(dim, replace(NOTHING, brightness=0.5), seeded()) / dim
    assert torch.allclose(brighter.flatten(1).std(1), torch.zeros(6), atol=1e-3)
    grey = dim[:, :1].expand(-1, 3, -1, -1)
    flatter = recolour(grey, replace(NOTHING, contrast=0.5), seeded())
    assert torch.allclose(flatter.mean((1, 2, 3)), grey.mean((1, 2, 3)), atol=1e-4)
    assert not torch.allclose(flatter.std((1, 2, 3)), grey.std((1, 2, 3)), rtol=0.02)


@pytest.mark.parametrize("change", [{"rotate": 30.0}, {"zoom": 0.5}])
def test_rotation_and_zoom_hold_the_centre(change) -> None:
    blob = torch.zeros(4, 3, 33, 33)
    blob[:, :, 14:19, 14:19] = 1
    turned = view(blob, replace(NOTHING, **change), seeded())
    assert (turned[:, :, 16, 16] > 0.99).all()
    assert not torch.allclose(turned, blob, atol=0.05)


@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 1), aspect=st.floats(0, 1))
@settings(max_examples=30)
def test_crops_are_rectangles_of_the_image_of_the_promised_size(seed, share, aspect) -> None:
    """Of an image whose channels are its coordinates, a crop's say where it was cut out."""
    height, width = 24, 32
    down, right = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    places = torch.stack([right / width, down / height, torch.zeros(height, width)]).expand(5, -1, -1, -1)
    found = crop(places, replace(NOTHING, crop=share, aspect=aspect), seeded(seed))
    x, y = found[:, 0], found[:, 1]
    assert torch.allclose(x, x[:, :1].expand_as(x), atol=1e-4)
    assert torch.allclose(y, y[:, :, :1].expand_as(y), atol=1e-4)
    # Between two middle columns, which lie inside of the image, the step is the crop's share of the width.
    wide = (x[:, 0, width // 2] - x[:, 0, width // 2 - 1]) * width
    high = (y[:, height // 2, 0] - y[:, height // 2 - 1, 0]) * height
    assert (wide * high >= min(share, 1 / (1 + aspect)) - 1e-3).all()
    assert (torch.stack([wide, high]) <= 1 + 1e-3).all()
    whole = (wide > 1 - 1e-3) | (high > 1 - 1e-3)
    ratio = wide / high
    assert (ratio <= 1 + aspect + 1e-2).all()
    assert (ratio >= 1 / (1 + aspect) - 1e-2).all()
    assert (whole | (wide * high >= share - 1e-3)).all()


def test_crops_are_of_all_sizes_and_anywhere() -> None:
    right = ((torch.arange(32) + 0.5) / 32).expand(400, 3, 32, 32)
    x = crop(right, replace(NOTHING, crop=0.1), seeded())[:, 0, 0]
    wide = (x[:, 16] - x[:, 15]) * 32
    assert (wide**2).mean().item() == pytest.approx(0.55, abs=0.05)
    assert (wide**2).min().item() < 0.15
    middle = (x[:, 16] + x[:, 15]) / 2
    assert middle.mean().item() == pytest.approx(0.5, abs=0.03)
    small = wide < 0.5
    assert middle[small].std() > 0.15


def test_a_crop_of_the_whole_is_the_image() -> None:
    torch.testing.assert_close(crop(images(), replace(NOTHING, crop=1.0), seeded()), images(), atol=1e-5, rtol=0)


def test_without_crops_views_are_what_they_were() -> None:
    """The numbers that other changes draw do not move when crops are off."""
    assert torch.equal(view(images(), AugmentConfig(aspect=0.3), seeded()), view(images(), AugmentConfig(), seeded()))
    assert STRONG.crop
    assert not AugmentConfig().crop


@pytest.mark.parametrize("change", [{"crop": -0.1}, {"crop": 1.1}, {"aspect": -1.0}, {"crop": float("nan")}])
def test_crops_that_no_image_has_are_refused(change) -> None:
    with pytest.raises(ValueError, match="share of an image"):
        AugmentConfig(**change)
