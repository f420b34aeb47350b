"""bench.detectors.hiding at a size that takes seconds: its attackers do what they say, and its table what they did."""

from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bench.detectors.attackers import SpentError, walk_along_the_edge
from bench.detectors.hiding import (
    EPSILON,
    STRIDE,
    HidingRun,
    Squares,
    by_squares,
    rows_of_table,
    shaken,
    squares_anywhere,
    squares_that_go_by,
)
from holdfast.model.preprocess import Pixels
from tests.server.monitor.detectors.watching import pictures


@hypothesis_settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([squares_anywhere, squares_that_go_by]), st.integers(8, 40))
def test_squares_are_in_the_image_and_in_the_ball(seed: int, squares: Squares, side: int) -> None:
    sizes = []
    for top, left, size, colour in islice(squares(side, np.random.default_rng(seed)), 400):
        assert 0 <= top <= side - size
        assert 0 <= left <= side - size
        assert set(np.abs(colour)) == {EPSILON}
        sizes.append(size)
    assert sizes[0] > sizes[-1]


def test_a_square_that_goes_by_is_the_one_before_moved_on() -> None:
    shown = list(islice(squares_that_go_by(32, np.random.default_rng(0)), 300))
    passes = 1
    for (top, left, size, colour), (next_top, next_left, next_size, next_colour) in pairwise(shown):
        if next_left == 0:
            passes += 1
            continue
        assert (next_top, next_left, next_size) == (top, left + STRIDE, size)
        np.testing.assert_array_equal(next_colour, colour)
    assert passes > 5


@pytest.mark.parametrize("squares", [squares_anywhere, squares_that_go_by])
def test_a_search_by_squares_stays_in_the_ball_and_ends_with_a_wrong_answer(squares: Squares) -> None:
    (image,), asked = pictures(1, seed=1), list[Pixels]()

    def ask(images: Pixels) -> np.ndarray:
        asked.append(images)
        bright = (images.astype(float).mean() - image.mean()) / 20 + 0.2
        return np.array([[0.6 - bright, 0.4 + bright]], np.float32)

    assert by_squares(ask, image, 0, np.random.default_rng(0), squares)
    assert all(np.abs(images[0].astype(int) - image).max() <= EPSILON for images in asked)
    assert ask(asked[-1]).argmax() == 1 or len(asked) > 1


def test_a_walk_in_a_part_changes_nothing_else() -> None:
    (image,), asked = pictures(1, seed=2), list[Pixels]()

    def ask(images: Pixels) -> np.ndarray:
        if sum(map(len, asked)) > 200:
            raise SpentError
        asked.append(images)
        changed = np.abs(images.astype(float) - image).mean(axis=(1, 2, 3)) > 3
        return np.eye(2, dtype=np.float32)[changed.astype(int)]

    with pytest.raises(SpentError):
        list(walk_along_the_edge(ask, image, 0, np.random.default_rng(0), grain=1, size=lambda: 1.0, part=20))
    changed = np.abs(np.concatenate(asked).astype(int) - image).max(axis=(0, 3)) > 0
    assert not changed[:6].any()
    assert not changed[:, 26:].any()
    assert changed[6:26, 6:26].mean() > 0.9


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3))
def test_a_shaken_image_is_the_same_shifted(seed: int, most: int) -> None:
    images = pictures(3, seed)
    for image, found in zip(images, shaken(images, most, np.random.default_rng(seed)), strict=True):
        assert found.shape == image.shape
        inner = found[most : 32 - most, most : 32 - most]
        size = 32 - 2 * most
        windows = [image[top : top + size, left : left + size] for top in range(2 * most + 1) for left in range(2 * most + 1)]
        assert any(np.array_equal(inner, window) for window in windows)


def test_the_table_counts_what_was_found_and_what_succeeded() -> None:
    runs = [
        HidingRun("one", 90, 40, ("update-pattern",), 90),
        HidingRun("one", 100),
        HidingRun("walk", 100, None, (), None, 12.5),
    ]
    assert rows_of_table(runs) == [
        ["one", "1 of 2", "40, 40", "1 of 2", "90, 90", "-", "update-pattern"],
        ["walk", "0 of 1", "-", "-", "-", "12.5", ""],
    ]
