import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.data import DataError
from holdfast.data.streams.arrivals import FILE, Arrivals, load_arrivals, no_arrivals
from holdfast.data.streams.screening import NearDuplicates, outliers, screen


def different(count, seed=0):
    """Pictures of eight by eight random cells."""
    cells = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return cells.repeat(2, axis=1).repeat(2, axis=2)


def nearly(images, seed=1):
    noise = np.random.default_rng(seed).integers(-8, 9, images.shape)
    return np.clip(images.astype(int) + noise, 0, 255).astype(np.uint8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 400), st.data())
def test_of_a_burst_of_variants_the_first_is_kept(count, draw):
    distinct = different(12)
    drawn = np.array(draw.draw(st.lists(st.integers(0, 11), min_size=count, max_size=count)), dtype=np.int64)
    new = NearDuplicates((16, 16, 3)).new(nearly(distinct[drawn], seed=count))
    firsts = [place for place, each in enumerate(drawn) if each not in drawn[:place]]
    assert np.flatnonzero(new).tolist() == firsts


def test_with_a_capacity_the_latest_are_remembered():
    images = different(30)
    near = NearDuplicates((16, 16, 3), capacity=10)
    assert near.new(images).all()
    assert not near.new(images[20:]).any()
    assert near.alike(images[20:]).all()
    assert not near.alike(images[:20]).any()
    assert near.new(images[:5]).all()  # forgotten, and remembered again in the place of the oldest
    assert near.alike(images).sum() == 10


def test_outliers_are_farther_than_all_but_a_share_of_what_was_held_out():
    p = np.array([0.001, 0.01, 0.011, 1.0, np.nan])
    assert outliers(p, 999).tolist() == [True, True, False, False, False]
    assert outliers(p, 999, outlier_p=0.0).tolist() == [False] * 5
    # Of nine held-out images no p-value is below a tenth: those that are farther than all of them are outliers.
    assert outliers(np.array([0.1, 0.2]), 9).tolist() == [True, False]


def test_what_is_left_out_is_counted_once():
    held_out, fresh = different(3, seed=5), different(6)
    images = np.concatenate([nearly(held_out[:2]), fresh, nearly(fresh[:3]), nearly(held_out[2:])])
    outlier = np.zeros(len(images), np.bool_)
    outlier[[0, 3, 8]] = True  # one that is held out, one that is fresh, one that is repeated
    screened = screen(images, outlier, held_out)
    assert np.flatnonzero(screened.kept).tolist() == [2, 4, 5, 6, 7]
    assert (screened.held_out, screened.repeated, screened.outliers) == (3, 3, 1)


def test_arrivals_are_kept_and_go_on(tmp_path):
    images = different(7)
    first = no_arrivals((16, 16, 3)).followed_by(images[:3])
    both = first.followed_by(images[3:])
    assert [rows.tolist() for rows in both.chunks(10)] == [[10, 11, 12], [13, 14, 15, 16]]
    both.save(tmp_path)
    found = load_arrivals(tmp_path)
    assert np.array_equal(found.images, images)
    assert found.sizes == (3, 4)
    assert found.sha256() == both.sha256() != Arrivals(images, (4, 3)).sha256()
    assert load_arrivals(tmp_path / "elsewhere") is None
    with pytest.raises(DataError, match="1 image:"):
        both.followed_by(images[:1])
    content = (tmp_path / FILE).read_bytes()
    for damaged in (b"", content[:100], content[:-40], b"x" * 500):
        (tmp_path / FILE).write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            load_arrivals(tmp_path)
