import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.bundle.exemplars import Exemplars
from holdfast.bundle.sources import Sources
from holdfast.errors import BundleError
from holdfast.model.npz import open_npz

file_names = st.binary(max_size=8).map(lambda name: name.decode(errors="surrogateescape"))
names = st.lists(st.text(max_size=12) | file_names, max_size=30)


def of_names(names):
    count = len(names)
    return Exemplars(np.arange(count), np.zeros(count, np.int64), names, np.zeros(count, np.uint8))


@given(names)
def test_names_come_back_as_they_were(given_names):
    sources = Sources.of(given_names)
    assert sources.tolist() == given_names
    assert [sources[row] for row in range(len(sources))] == given_names
    assert sources[1:4] == given_names[1:4]
    assert sources == Sources.of(iter(given_names))


@given(names, st.data())
def test_rows_are_taken_and_joined_as_of_a_list(given_names, data):
    sources = Sources.of(given_names)
    rows = data.draw(st.lists(st.integers(0, len(given_names) - 1), max_size=40)) if given_names else []
    assert sources.take(np.array(rows, dtype=np.int64)).tolist() == [given_names[row] for row in rows]
    assert Sources.joined([sources, Sources.of(["x"]), sources]).tolist() == [*given_names, "x", *given_names]


def test_half_a_character_is_kept_readable():
    assert Sources.of(["a\ud800"]).tolist() == ["a\\ud800"]


def test_a_row_that_is_not_there():
    sources = Sources.of(["a", "b"])
    assert sources[-1] == "b"
    with pytest.raises(IndexError):
        sources[2]


@given(names)
def test_a_table_is_read_as_written(tmp_path_factory, given_names):
    path = tmp_path_factory.mktemp("table") / "exemplars.npz"
    of_names(given_names).save(path)
    assert Exemplars.load(path).sources.tolist() == given_names


def test_tables_with_a_column_of_strings_are_read(tmp_path):
    path = tmp_path / "exemplars.npz"
    columns = {"ids": np.arange(2), "labels": np.array([1, 0]), "flags": np.zeros(2, np.uint8)}
    np.savez_compressed(path, sources=np.array(["cat/ä.png", "b"]), **columns)
    table = Exemplars.load(path)
    assert table.sources.tolist() == ["cat/ä.png", "b"]
    assert table.labels.tolist() == [1, 0]


def test_one_long_name_does_not_widen_the_others(tmp_path):
    path = tmp_path / "exemplars.npz"
    table = of_names(["a" * 3000, *(f"folder/{row}.png" for row in range(20_000))])
    table.save(path)
    assert path.stat().st_size < 20_000 * 60
    tracemalloc.start()
    read = Exemplars.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000 * 40  # ids and labels twice at most; names stay on disk
    assert read.sources[20_000] == "folder/19999.png"


@pytest.mark.parametrize("damage", [b"", b"no zip file", None])
def test_what_is_no_table_is_refused(tmp_path, damage):
    path = tmp_path / "exemplars.npz"
    of_names(["a", "b"]).save(path)
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    with pytest.raises(BundleError, match="run holdfast index again"):
        Exemplars.load(path)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(BundleError, match="different lengths"):
        Exemplars(np.arange(3), np.zeros(3, np.int64), ["a", "b"], np.zeros(3, np.uint8))


@pytest.mark.parametrize("ids", [[0, 1, 2, 3], [3, 40, 7, 12]])
def test_rows_of_ids(ids):
    table = Exemplars(np.array(ids), np.zeros(4, np.int64), list("abcd"), np.zeros(4, np.uint8))
    assert table.rows_of(np.array([[ids[2], ids[0]]])).tolist() == [[2, 0]]
    for absent in (-1, 4, 50):
        with pytest.raises(BundleError, match="not in the table"):
            table.rows_of(np.array([absent]))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_member_is_mapped_wherever_it_lies(tmp_path, compressed):
    path = tmp_path / "arrays.npz"
    write = np.savez_compressed if compressed else np.savez
    write(path, first=np.arange(3, dtype=np.uint8), second=np.arange(12.0).reshape(3, 4), empty=np.zeros((0, 2)))
    with open_npz(path) as arrays:
        assert arrays.mapped("first", np.uint8, 3).tolist() == [0, 1, 2]
        assert arrays.mapped("second", np.float64, None, 4).tolist() == np.arange(12.0).reshape(3, 4).tolist()
        assert arrays.mapped("empty", np.float64, None, 2).shape == (0, 2)
        with pytest.raises(KeyError):
            arrays.mapped("third", np.uint8, None)
    assert zipfile.is_zipfile(path)
