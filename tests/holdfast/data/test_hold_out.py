import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.data import DataError, LabelledImages, hold_out


def labelled(labels: list[int], classes: int) -> LabelledImages:
    n = len(labels)
    images = np.arange(n * 12, dtype=np.uint64).astype(np.uint8).reshape(n, 2, 2, 3)
    names = tuple(f"class {i}" for i in range(classes))
    return LabelledImages(images, np.array(labels, dtype=np.int64), names, [f"set/{i}" for i in range(n)])


@given(st.lists(st.integers(0, 4), min_size=2, max_size=80), st.data())
def test_parts_are_disjoint_whole_and_in_proportion(labels, draw):
    images = labelled(labels, 5)
    counts = np.bincount(images.labels, minlength=5)
    spare = int(np.maximum(counts - 1, 0).sum())
    count = draw.draw(st.integers(0, spare))
    rest, held = hold_out(images, count, seed=draw.draw(st.integers(0, 3)))
    assert len(held) == count
    assert sorted(rest.sources + held.sources) == sorted(images.sources)
    assert np.all((counts == 0) | (np.bincount(rest.labels, minlength=5) >= 1))
    position = {source: i for i, source in enumerate(images.sources)}
    assert [position[s] for s in held.sources] == sorted(position[s] for s in held.sources)
    exact = counts * count / len(labels)
    if np.all(np.ceil(exact) <= np.maximum(counts - 1, 0)):
        assert np.all(np.abs(np.bincount(held.labels, minlength=5) - exact) < 1)


@given(st.integers(0, 1000))
def test_a_seed_draws_the_same_images_every_time(seed):
    images = labelled([i % 3 for i in range(60)], 3)
    assert hold_out(images, 20, seed)[1].sources == hold_out(images, 20, seed)[1].sources


def test_seeds_draw_different_images():
    images = labelled([i % 3 for i in range(60)], 3)
    assert hold_out(images, 20, 0)[1].sources != hold_out(images, 20, 1)[1].sources


def test_the_last_image_of_a_class_is_not_given_away():
    with pytest.raises(DataError, match="at most 2 can be spared"):
        hold_out(labelled([0, 0, 0, 1], 2), 3, seed=0)


def test_the_hash_knows_pixels_labels_and_names_but_not_where_they_lay():
    images = labelled([0, 1, 0, 1], 2)
    same = LabelledImages(images.images.copy(), images.labels.copy(), images.class_names, ["elsewhere"] * 4)
    assert same.sha256() == images.sha256()
    pixels = images.images.copy()
    pixels[3, 1, 1, 2] ^= 1
    others = [
        LabelledImages(pixels, images.labels, images.class_names, images.sources),
        LabelledImages(images.images, images.labels[::-1].copy(), images.class_names, images.sources),
        LabelledImages(images.images, images.labels, ("a", "b"), images.sources),
        images.take([0, 1, 3, 2]),
        images.take([0, 1, 2]),
    ]
    assert len({images.sha256(), *(other.sha256() for other in others)}) == 6


@pytest.mark.parametrize(
    ("images", "labels", "sources", "reason"),
    [
        (np.zeros((2, 4, 4, 3)), np.zeros(2, dtype=np.int64), ["a", "b"], "uint8"),
        (np.zeros((2, 4, 4), dtype=np.uint8), np.zeros(2, dtype=np.int64), ["a", "b"], "N, H, W, 3"),
        (np.zeros((2, 4, 4, 3), dtype=np.uint8), np.zeros(3, dtype=np.int64), ["a", "b"], "labels must be"),
        (np.zeros((2, 4, 4, 3), dtype=np.uint8), np.zeros(2, dtype=np.int64), ["a"], "1 sources"),
        (np.zeros((2, 4, 4, 3), dtype=np.uint8), np.array([0, 2]), ["a", "b"], "2 class names"),
        (np.zeros((2, 4, 4, 3), dtype=np.uint8), np.array([0, -2]), ["a", "b"], "2 class names"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(images, labels, sources, reason):
    with pytest.raises(DataError, match=reason):
        LabelledImages(images, labels, ("x", "y"), sources)
