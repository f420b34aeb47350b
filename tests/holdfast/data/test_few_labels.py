"""Which labels of a set are known, where few are."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import data
from holdfast.data import DataError, LabelledImages, Splits
from holdfast.data.few_labels import draw_known, with_labels
from holdfast.data.streams.chunks import StreamConfig, chunks_of
from tests.holdfast.data.folders import classes, put


@given(st.lists(st.integers(0, 4), min_size=5, max_size=80), st.data())
def test_as_many_of_each_class_as_there_are(labels, draw):
    labels = np.array(labels)
    count = draw.draw(st.integers(5, len(labels)))
    known = draw_known(labels, 5, count, seed=draw.draw(st.integers(0, 3)))
    assert known.sum() == count
    there, marked = np.bincount(labels, minlength=5), np.bincount(labels[known], minlength=5)
    # No class has two more than another that could have had more.
    assert all(marked[a] <= marked[b] + 1 for a in range(5) for b in range(5) if marked[b] < there[b])


def test_a_seed_draws_the_same_labels_every_time_and_another_one_others():
    labels = np.arange(60) % 3
    assert np.array_equal(draw_known(labels, 3, 9, 1), draw_known(labels, 3, 9, 1))
    assert not np.array_equal(draw_known(labels, 3, 9, 1), draw_known(labels, 3, 9, 2))


def test_what_has_no_label_is_learned_from_and_hashed():
    everything = data.load("digits", size=8)
    few = data.load("digits", size=8, labels=50)
    assert np.bincount(few.train.labels).tolist() == [5] * 10
    assert few.unlabelled is not None
    assert sorted(few.train.sources + few.unlabelled.sources) == sorted(everything.train.sources)
    assert set(few.unlabelled.labels.tolist()) == {-1}
    assert few.learned_from.sources == few.train.sources + few.unlabelled.sources
    assert few.calibration.sources == everything.calibration.sources
    assert few.test.sources == everything.test.sources
    hashes = {each.sha256 for each in (everything, few, data.load("digits", size=8, labels=51))}
    assert len(hashes) == 3
    same = data.load("digits", size=8, labels=len(everything.train))
    assert same.unlabelled is None
    assert same.sha256 == everything.sha256


@pytest.mark.parametrize(("count", "reason"), [(9, "fewer than the 10 classes"), (1198, "there are 1197 training images")])
def test_too_few_or_too_many_labels_are_refused(count, reason):
    with pytest.raises(DataError, match=re.escape(reason)):
        data.load("digits", size=8, labels=count)


def test_a_folder_has_images_without_labels(tmp_path):
    classes(tmp_path, "cat", "dog", images=10)
    put(tmp_path, "unlabelled/1.png", "unlabelled/2.png")
    splits = data.load("folder", directory=tmp_path, size=8, calibration=2)
    assert splits.unlabelled is not None
    assert splits.unlabelled.sources == ["unlabelled/1.png", "unlabelled/2.png"]
    assert len(splits.train) == 14
    few = with_labels(splits, 4, 0)
    assert few.unlabelled is not None
    assert len(few.unlabelled) == 12


def test_labels_are_where_they_are_read_and_nowhere_else():
    def some(label):
        return LabelledImages(np.zeros((1, 2, 2, 3), np.uint8), np.array([label]), ("a", "b"), ["x"])

    with pytest.raises(DataError, match="must have labels"):
        Splits(some(0), some(-1), some(1))
    with pytest.raises(DataError, match="must have none"):
        Splits(some(0), some(1), some(1), unlabelled=some(1))
    with pytest.raises(DataError, match="run from -2"):
        some(-2)


def test_a_stream_of_classes_has_no_place_for_images_without_a_label():
    few = data.load("digits", size=8, labels=50).learned_from
    with pytest.raises(DataError, match="1,147 of 1,197 images have no label"):
        chunks_of(few, StreamConfig(order="random-class", chunks=5))
    for stream in (StreamConfig(order="instance", chunks=5), StreamConfig(order="random-class", chunks=1)):
        assert sum(map(len, chunks_of(few, stream))) == len(few)
