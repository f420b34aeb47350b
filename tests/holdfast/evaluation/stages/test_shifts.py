import numpy as np
import pytest

from holdfast.evaluation.stages import shifts
from holdfast.evaluation.stages.shifts import MOVES, SHIFTS, camera

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 12, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("shift", [*SHIFTS, *MOVES, camera])
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


def test_cameras_are_drawn_by_the_seed_and_each_image_has_its_own():
    grey = np.full((200, 8, 8, 3), 128, dtype=np.uint8)
    taken = camera(grey, 1).astype(float)
    assert (camera(grey, 1) != camera(grey, 2)).any()
    means = taken.mean(axis=(1, 2))
    assert means.std(axis=0).min() > 3  # from image to image, in each channel
    assert np.abs(means - 128).max() < 128 * 0.15 + 30
    assert 0 < taken.std(axis=(1, 2)).max() < 0.06 * 255
    edge = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    edge[:, :, 8:] = 200
    sharpest = np.abs(np.diff(camera(np.repeat(edge, 50, 0), 0).astype(float), axis=2)).max(axis=(1, 2, 3))
    assert sharpest.min() < 150 < sharpest.max()  # some cameras blur


def test_a_rotation_turns_and_a_crop_enlarges():
    disc = np.zeros((1, 40, 60, 3), dtype=np.uint8)
    disc[:, 18:22, 50:54] = 255  # right of the middle

    def middle(images):
        rows, columns = np.nonzero(images[0, :, :, 0] > 100)
        return rows.mean() - 19.5, columns.mean() - 29.5

    rotation, crop = (move(disc) for move in MOVES)
    down, right = middle(rotation)
    angle = np.degrees(np.arctan2(-down, right))
    assert angle == pytest.approx(15, abs=2)
    assert np.hypot(down, right) == pytest.approx(22, abs=1)
    assert middle(crop)[1] == pytest.approx(22 / 0.75, abs=1)


def test_images_that_are_changed_in_parts_are_changed_as_each_of_them_would_be(monkeypatch):
    """Parts have no seams, and random numbers go on from one to the next."""
    images = np.random.default_rng(1).integers(0, 256, (9, 12, 10, 3), dtype=np.uint8)
    whole = [shift(images) for shift in (*SHIFTS, *MOVES, camera)]
    monkeypatch.setattr(shifts, "PART_VALUES", 2 * images[0].size)
    for shift, expected in zip((*SHIFTS, *MOVES, camera), whole, strict=True):
        np.testing.assert_array_equal(shift(images), expected)
