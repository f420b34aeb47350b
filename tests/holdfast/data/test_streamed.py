import pickle

import numpy as np
import pytest

from holdfast import data
from holdfast.data import DataError, open_labelled
from holdfast.model.preprocess import InputContract
from tests.holdfast.data.test_folder import fill, picture

CONTRACT = InputContract(height=16, width=16)


def everything(source):
    return source.read(np.arange(len(source)))


def assert_same(source, images):
    read = everything(source)
    assert read.faults == []
    assert read.rows.tolist() == list(range(len(images)))
    np.testing.assert_array_equal(read.images, images.images)
    np.testing.assert_array_equal(source.labels, images.labels)
    assert source.class_names == images.class_names
    assert list(source.sources) == images.sources


@pytest.mark.parametrize("parts", [("",), ("train", "test")])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_streamed_folder_is_split_and_read_as_in_memory(tmp_path, parts, threads):
    for seed, part in enumerate(parts):
        fill(tmp_path / part, ["cat", "bee", "ant"], 10, seed=1000 * seed)
    loaded = data.load("folder", directory=tmp_path, size=16, calibration=4, seed=3)
    streamed = open_labelled(tmp_path, CONTRACT, calibration=4, seed=3, threads=threads)
    for name in ("train", "calibration", "test"):
        assert_same(getattr(streamed, name), getattr(loaded, name))


def test_a_built_in_set_is_split_and_read_as_in_memory():
    loaded = data.load("digits", size=16, seed=1)
    streamed = open_labelled("digits", CONTRACT, seed=1)
    for name in ("train", "calibration", "test"):
        assert_same(getattr(streamed, name), getattr(loaded, name))


def test_what_cannot_be_read_is_a_fault_and_the_rest_is_read(tmp_path):
    fill(tmp_path / "train", ["a", "b"], 6)
    fill(tmp_path / "test", ["a", "b"], 1, seed=50)
    (tmp_path / "train" / "a" / "2.webp").write_bytes(picture(1)[:100])
    train = open_labelled(tmp_path, CONTRACT, calibration=0).train
    (tmp_path / "train" / "b" / "0.png").unlink()
    read = train.read(np.array([7, 6, 2, 0]))
    assert [fault.row for fault in read.faults] == [6, 2]
    assert "No such file" in read.faults[0].reason
    assert read.rows.tolist() == [7, 0]
    assert len(read.images) == 2
    assert len(train.read(np.array([2, 6])).images) == 0


def test_a_selection_is_a_source_of_its_own_and_travels_to_another_process(tmp_path):
    fill(tmp_path, ["a", "b"], 10)
    train = open_labelled(tmp_path, CONTRACT).train
    rows = np.array([9, 3, 3])
    chosen = pickle.loads(pickle.dumps(train.select(rows)))  # noqa: S301
    assert list(chosen.sources) == [train.sources[row] for row in rows]
    assert chosen.labels.tolist() == train.labels[rows].tolist()
    np.testing.assert_array_equal(everything(chosen).images, train.read(rows).images)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        open_labelled(tmp_path / "nowhere", CONTRACT)
