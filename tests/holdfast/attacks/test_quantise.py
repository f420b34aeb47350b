import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.quantise import to_images, to_images_within, to_pixels
from holdfast.bundle.threat_model import ThreatModel

THREATS = st.builds(ThreatModel, st.just("linf"), st.floats(0, 0.1)) | st.builds(ThreatModel, st.just("l2"), st.floats(0, 2))


@given(st.integers(0, 1000))
def test_images_survive_the_way_to_pixels_and_back(seed):
    images = np.random.default_rng(seed).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    pixels = to_pixels(images)
    assert pixels.shape == (2, 3, 5, 6)
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    np.testing.assert_array_equal(to_images(pixels), images)


@given(THREATS, st.integers(0, 1000))
def test_rounding_stays_in_the_ball(threat, seed):
    clean = np.random.default_rng(seed).integers(0, 256, (3, 6, 6, 3), dtype=np.uint8)
    anywhere = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    attacked = geometry_of(threat).project(anywhere, to_pixels(clean))
    rounded = to_images_within(attacked, clean, threat)
    assert rounded.dtype == np.uint8
    move = (rounded.astype(float) - clean).reshape(3, -1) / 255
    size = np.abs(move).max(1) if threat.norm == "linf" else np.linalg.norm(move, axis=1)
    assert (size <= threat.epsilon * (1 + 2e-6)).all()
    # Nothing is given away either: no pixel is further than one grey level from where the attack wanted it.
    assert np.abs(rounded - attacked.permute(0, 2, 3, 1).numpy() * 255.0).max() <= 1 + 1e-3


def test_eight_grey_levels_are_allowed_at_eight_255ths():
    clean = np.full((1, 4, 4, 3), 100, dtype=np.uint8)
    rounded = to_images_within(to_pixels(clean) + 8 / 255, clean, ThreatModel("linf", 8 / 255))
    assert (rounded == 108).all()


def test_in_l2_only_what_does_not_fit_is_rounded_down():
    clean = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    pixels = torch.full((1, 3, 4, 4), 1.6 / 255)
    epsilon = float(pixels.norm())
    rounded = to_images_within(pixels, clean, ThreatModel("l2", epsilon))
    values, counts = np.unique(rounded, return_counts=True)
    assert values.tolist() == [1, 2]
    spare = (epsilon * 255) ** 2 - (rounded.astype(float) ** 2).sum()
    assert 0 <= spare < 3, "one more of them would not fit"
    assert counts.sum() == 48
