import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.data import DataError, LabelledImages
from holdfast.data.cifar10 import CLASSES
from holdfast.data.streams import (
    STYLES,
    StreamConfig,
    chunks_of,
    distant_groups,
    in_styles,
    random_groups,
    replayed,
    reservoir,
    styled,
)

DIGITS = tuple("0123456789")


def of_classes(labels, class_names=DIGITS, sources=None):
    n = len(labels)
    images = np.random.default_rng(0).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return LabelledImages(images, np.array(labels, dtype=np.int64), class_names, sources or [f"set/{i}" for i in range(n)])


@given(
    st.sampled_from(["instance", "random-class", "distant-class", "domain"]),
    st.integers(1, 5),
    st.integers(0, 2**40),
    st.integers(2, 9),
)
def test_chunks_are_disjoint_and_together_all_there_are(order, chunks, seed, of_each):
    stream = StreamConfig(order, 5 if order == "distant-class" else chunks, seed)
    images = of_classes(list(range(10)) * of_each)
    found = chunks_of(images, stream)
    assert len(found) == stream.chunks
    assert sorted(np.concatenate(found).tolist()) == list(range(10 * of_each))
    assert all((np.diff(rows) > 0).all() for rows in found)
    assert all(np.array_equal(a, b) for a, b in zip(found, chunks_of(images, stream), strict=True))
    sizes = [len(rows) for rows in found]
    assert max(sizes) - min(sizes) <= (1 if order in {"instance", "domain"} else of_each)
    if order.endswith("class"):
        classes = [set(images.labels[rows].tolist()) for rows in found]
        assert sum(map(len, classes)) == 10


@given(st.sampled_from([CLASSES, DIGITS]), st.integers(2, 10), st.integers(0, 2**40))
def test_random_classes_never_bring_together_what_distant_classes_do(class_names, chunks, seed):
    alike = [set(group) for group in distant_groups(class_names, 5)]
    groups = random_groups(class_names, StreamConfig("random-class", chunks, seed))
    assert not any(pair <= set(group) for pair in alike for group in groups)


def test_distant_classes_of_cifar_are_craft_wheels_hoofs_paws_and_the_rest():
    named = [{CLASSES[label] for label in group} for group in distant_groups(CLASSES, 5)]
    assert named == [{"airplane", "ship"}, {"automobile", "truck"}, {"deer", "horse"}, {"cat", "dog"}, {"bird", "frog"}]


@pytest.mark.parametrize(
    ("labels", "class_names", "stream"),
    [
        ([0] * 3 + [1] * 2, ("a", "b"), StreamConfig("instance", 4)),  # one chunk of two images, three of one
        ([0, 1, 1, 1], ("a", "b"), StreamConfig("random-class", 2)),
        ([1, 1, 1], ("a", "b"), StreamConfig("random-class", 2)),
        ([0, 1] * 4, ("a", "b"), StreamConfig("random-class", 3)),
        ([0, 1] * 4, ("a", "b"), StreamConfig("distant-class", 2)),
        (list(range(10)) * 2, DIGITS, StreamConfig("distant-class", 4)),
        ([0, 1] * 4, ("a", "b"), StreamConfig("domains", 3)),
    ],
)
def test_a_set_that_cannot_be_cut_so_is_refused(labels, class_names, stream):
    with pytest.raises(DataError):
        chunks_of(of_classes(labels, class_names), stream)


def test_each_of_joined_sets_is_a_chunk():
    images = of_classes([0, 1, 0, 1, 0, 1], ("a", "b"), ["x/0", "x/1", "y/0", "x/2", "y/1", "z/0"])
    with pytest.raises(DataError):  # one of them has a single image
        chunks_of(images, StreamConfig("domains", 3))
    x, y = chunks_of(images.take([0, 1, 2, 3, 4]), StreamConfig("domains", 2))
    assert x.tolist() == [0, 1, 3]
    assert y.tolist() == [2, 4]


@pytest.mark.parametrize("config", [{"chunks": 0}, {"seed": -1}, {"order": "domain", "chunks": 6}])
def test_a_stream_that_cannot_be_is_refused(config):
    with pytest.raises(ValueError, match="stream|styles"):
        StreamConfig(**config)


def test_each_chunk_of_order_domain_has_its_style():
    images = of_classes(list(range(10)) * 2)
    stream = StreamConfig("domain", 5, seed=3)
    shown = in_styles(images, stream)
    for rows, style in zip(chunks_of(images, stream), STYLES, strict=True):
        assert np.array_equal(shown.images[rows], styled(images.images[rows], style))
    assert np.array_equal(shown.labels, images.labels)
    assert in_styles(images, StreamConfig("instance", 5)) is images


def test_styles_are_what_they_are_called():
    images = of_classes([0] * 8).images
    drawn = {style: styled(images, style) for style in STYLES}
    assert np.array_equal(drawn["photo"], images)
    assert (drawn["grey"] == drawn["grey"][..., :1]).all()
    assert set(np.unique(drawn["posterised"])) <= {0, 64, 128, 192}
    assert np.array_equal(drawn["inverted"], 255 - images)
    flat = np.full((1, 8, 8, 3), 77, np.uint8)
    assert not styled(flat, "edges")[0, 1:-1, 1:-1].any()  # where nothing changes there is no edge
    with pytest.raises(DataError):
        styled(images, "cubist")


@given(st.integers(0, 60), st.integers(0, 70), st.integers(0, 2**40))
def test_a_reservoir_keeps_so_many_of_the_rows_each_once(n, size, seed):
    rows = 3 * np.arange(n)
    kept = reservoir(rows, size, (seed,))
    assert len(kept) == min(n, size)
    assert set(kept.tolist()) <= set(rows.tolist())
    assert (np.diff(kept) > 0).all()
    assert np.array_equal(kept, reservoir(rows, size, (seed,)))


def test_a_reservoir_keeps_each_row_equally_often():
    times = np.zeros(20)
    for seed in range(4000):
        times[reservoir(np.arange(20), 5, (seed,))] += 1
    # Binomial, of 4,000 and 1/4: deviation 27.
    assert abs(times - 1000).max() < 5 * 27.4


def test_of_every_chunk_that_is_over_a_share_is_kept():
    chunks = [np.arange(0, 100), np.arange(100, 130), np.arange(130, 133)]
    kept = replayed(chunks, 0.1, seed=7)
    assert [int(np.isin(rows, kept).sum()) for rows in chunks] == [10, 3, 1]
    assert set(replayed(chunks[:2], 0.1, seed=7).tolist()) == {row for row in kept.tolist() if row < 130}
    assert not len(replayed(chunks, 0.0, seed=7))
    assert not len(replayed([], 0.5, seed=7))
