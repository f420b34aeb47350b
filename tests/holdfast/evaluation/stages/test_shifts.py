import numpy as np
import pytest

from holdfast.evaluation.stages.shifts import SHIFTS, shifted

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 12, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_changes_images_the_same_way_each_time_and_leaves_the_originals(shift):
    before = IMAGES.copy()
    moved = shift(IMAGES)
    assert (moved.dtype, moved.shape) == (np.uint8, IMAGES.shape)
    assert (moved != IMAGES).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(shift(IMAGES), moved)
    np.testing.assert_array_equal(IMAGES, before)
    assert shift(IMAGES[:0]).shape == (0, 12, 9, 3)


def test_each_does_what_its_name_says():
    noise, blur, contrast, brightness, compression = (shift(IMAGES).astype(float) for shift in SHIFTS)
    images = IMAGES.astype(float)
    assert noise.std() > 0
    assert abs(noise.mean() - images.mean()) < 5
    assert np.abs(np.diff(blur, axis=1)).mean() < np.abs(np.diff(images, axis=1)).mean() / 2
    assert contrast.std() == pytest.approx(0.4 * images.std(), rel=0.05)
    assert brightness.mean() > images.mean() + 40
    assert 0 < np.abs(compression - images).mean() < 80


def test_all_of_them_one_after_the_other():
    everything = shifted(IMAGES)
    assert everything.shape == (4 * len(SHIFTS), 12, 9, 3)
    np.testing.assert_array_equal(everything[4:8], SHIFTS[1](IMAGES))
