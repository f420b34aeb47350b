"""CSV and Parquet tables of paths and labels."""

import builtins
import csv

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import data
from holdfast.data import DataError, open_labelled
from holdfast.data.listing import list_images
from holdfast.model.preprocess import InputContract
from tests.holdfast.data.folders import put
from tests.holdfast.data.test_layouts import counts, said

CONTRACT = InputContract(height=8, width=8)


def write(path, *lines, encoding="utf-8"):
    path.write_bytes("\n".join(lines).encode(encoding, "surrogateescape"))
    return path


@pytest.fixture
def pictures(tmp_path):
    put(tmp_path, *(f"images/{i}.png" for i in range(6)))
    return tmp_path


@pytest.mark.parametrize(
    ("header", "delimiter", "encoding"),
    [
        ("path,label", ",", "utf-8"),
        ("path;label", ";", "utf-8-sig"),
        ("Filename\tclass", "\t", "utf-8"),
        ("image_path, Label", ",", "utf-8"),
    ],
)
def test_a_table_of_paths_and_labels(pictures, header, delimiter, encoding):
    rows = [f"images/{i}.png{delimiter}{'cat' if i % 2 else 'ant'}" for i in range(6)]
    listing = list_images(write(pictures / "set.csv", header, *rows, "", encoding=encoding))
    assert counts(listing) == {"ant": (3, 0, 0), "cat": (3, 0, 0)}
    assert list(listing.names)[:2] == ["images/0.png", "images/1.png"]
    assert listing.labels.tolist() == [0, 1] * 3


def test_delimiters_at_the_end_of_a_row_are_no_values(pictures):
    listing = list_images(write(pictures / "set.csv", "path,label,,", "images/0.png,a,,", "images/1.png,b,,,,"))
    assert counts(listing) == {"a": (1, 0, 0), "b": (1, 0, 0)}


def test_other_columns_are_passed_over_and_a_split_is_kept(pictures):
    parts = ["Train", "train", "training", "val", "test", "TEST"]
    rows = [f"{i},{part},images/{i}.png,{'ab'[i % 2]}" for i, part in enumerate(parts)]
    table = write(pictures / "set.csv", "id,split,path,label", *rows)
    assert counts(list_images(table)) == {"a": (2, 0, 1), "b": (1, 1, 1)}
    loaded, streamed = data.load("folder", directory=table, size=8), open_labelled(table, CONTRACT)
    for name in ("train", "calibration", "test"):
        part, source = getattr(loaded, name), getattr(streamed, name)
        np.testing.assert_array_equal(source.read(np.arange(len(source))).images, part.images)
        assert list(source.sources) == part.sources


def test_paths_may_be_absolute_quoted_written_on_windows_or_no_utf8(pictures, tmp_path):
    put(tmp_path, b"images/caf\xe9.png", "images/a, b.png")
    table = write(
        pictures / "set.csv",
        "path,label",
        f"{tmp_path}/images/0.png,a",
        "images\\1.png,a",
        '"images/a, b.png",b',
        "images/caf\udce9.png,b",
    )
    listing = list_images(table)
    assert counts(listing) == {"a": (2, 0, 0), "b": (2, 0, 0)}
    assert listing.names[3] == "images/caf\\xe9.png"


def test_a_path_that_is_listed_twice_counts_once_and_not_at_all_under_two_labels(pictures):
    rows = ["images/0.png,a", "images/0.png,a", "images/1.png,a", "images/1.png,b", "images/2.png,b"]
    listing = list_images(write(pictures / "set.csv", "path,label", *rows))
    assert counts(listing) == {"a": (1, 0, 0), "b": (1, 0, 0)}
    assert "1 copy of" in said(listing)
    assert "2 files whose image has two labels" in said(listing)


def test_files_that_are_not_there_are_refused_or_left_out(pictures):
    put(pictures, "images/note.png.txt", content=b"text")
    rows = ["images/0.png,a", "images/9.png,a", "images/1.png,b", "images,b", "images/note.png.txt,b"]
    table = write(pictures / "set.csv", "path,label", *rows)
    with pytest.raises(DataError, match=r"(?s)3 files.*images/9.png No such file.*images is no file.*is no image"):
        list_images(table)
    assert counts(list_images(table, skip_unusable=True)) == {"a": (1, 0, 0), "b": (1, 0, 0)}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["images/0.png,a", "images/1.png,b"], "first line must name the columns path and label"),
        ([], "first line must name"),
        (["path,label", "images/0.png,a", ",b", "images/1.png,"], r"(?s)2 rows.*row 3: no path.*row 4: no label"),
        (["path,label,split", "images/0.png,a,train", "images/1.png,b,later"], "row 3: split 'later'"),
        (["path,label,split", "images/0.png,a,", "images/1.png,b,test"], "row 2: split ''"),
        (["path,label", "images/0.png,a"], "has 1 class in"),
        (["path,label", '"images/0.png,a'], "line 2"),
        (["path,label", "images/0.png,a", "images/1.png,fish, dried"], "row 3: 3 values for 2 columns"),
        (["path,label,label", "images/0.png,a,x", "images/1.png,b,y"], "more than one column is named label"),
        (["path,Label,label ", "images/0.png,a,x", "images/1.png,b,y"], "more than one column is named label"),
    ],
)
def test_tables_that_cannot_be_used_say_which_row(pictures, lines, reason):
    with pytest.raises(DataError, match=reason):
        list_images(write(pictures / "set.csv", *lines))


@given(cells=st.lists(st.tuples(st.text(max_size=8), st.text(max_size=3)), max_size=6), cut=st.integers(0, 60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_is_read_or_refused(pictures, cells, cut):
    with (pictures / "any.csv").open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows([("path", "label"), ("images/0.png", "a"), ("images/1.png", "b"), *cells])
    text = (pictures / "any.csv").read_bytes()
    (pictures / "any.csv").write_bytes(text[: max(len(text) - cut, 0)])
    try:
        assert len(list_images(pictures / "any.csv", skip_unusable=True)) >= 2
    except DataError as refused:
        assert str(refused)


def test_parquet_is_read_as_csv_is(pictures):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "label": pyarrow.array([3, 3, 5, 5, 5, 3]),
        "path": pyarrow.array([f"images/{i}.png" for i in range(6)]).dictionary_encode(),
        "split": ["train", "train", "train", "test", "val", "test"],
    }
    parquet.write_table(pyarrow.table(columns), pictures / "set.parquet")
    assert counts(list_images(pictures / "set.parquet")) == {"3": (2, 0, 1), "5": (1, 1, 1)}
    parquet.write_table(pyarrow.table({"path": ["images/0.png", None], "label": ["a", "b"]}), pictures / "set.parquet")
    with pytest.raises(DataError, match="row 2: no path"):
        list_images(pictures / "set.parquet")
    (pictures / "set.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="no Parquet table"):
        list_images(pictures / "set.parquet")


def test_parquet_without_pyarrow_says_what_to_install(pictures, monkeypatch):
    real = builtins.__import__

    def absent(name, *arguments, **more):
        if name.split(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    write(pictures / "set.parquet", "x")
    with pytest.raises(DataError, match=r"pip install 'holdfast\[parquet\]'"):
        list_images(pictures / "set.parquet")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_parquet_table_is_refused_or_read(pictures, drawn):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"path": [f"images/{i}.png" for i in range(6)], "label": list("aabbab")}
    parquet.write_table(pyarrow.table(columns), pictures / "set.parquet")
    content = bytearray((pictures / "set.parquet").read_bytes())
    content[drawn.draw(st.integers(0, len(content) - 1))] ^= drawn.draw(st.integers(1, 255))
    (pictures / "set.parquet").write_bytes(content)
    try:
        assert len(list_images(pictures / "set.parquet", skip_unusable=True)) <= 6
    except DataError:
        return


@pytest.mark.parametrize("leaving", ["../outside.png", "images/../../outside.png", "{outside}"])
def test_a_path_that_leaves_the_folder_of_its_table_is_refused_or_left_out(pictures, leaving):
    inner = pictures / "inner"
    put(inner, "images/0.png", "images/1.png")
    put(pictures, "outside.png")
    name = leaving.format(outside=pictures / "outside.png")
    table = write(inner / "set.csv", "path,label", "images/0.png,a", "images/1.png,b", f"{name},b")
    with pytest.raises(DataError, match=r"outside\.png lies outside of the table's folder"):
        list_images(table)
    assert counts(list_images(table, skip_unusable=True)) == {"a": (1, 0, 0), "b": (1, 0, 0)}
