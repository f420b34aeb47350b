"""Sets that come as shards: the same parts and pixels as the files that they were made of, and what is wrong with them said."""

import io
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from holdfast import data
from holdfast.data import DataError, open_labelled
from holdfast.data.listing import list_images
from holdfast.model.preprocess import InputContract
from tests.holdfast.data.folders import picture, put
from tests.holdfast.data.shards import samples, table, tar

CONTRACT = InputContract(height=8, width=8)
TWENTY = [number % 2 for number in range(20)]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    return place


def said(listing):
    return "\n".join(listing.left_out.lines())


def pixels_of(source):
    return source.read(np.arange(len(source))).images


def expected(numbers):
    """Pictures by their numbers, fitted."""
    return np.stack([data.sources.decode_image(picture(number), CONTRACT) for number in numbers])


def test_a_folder_of_tar_shards_is_read_as_the_files_would_be(tmp_path):
    tar(tmp_path / "s" / "0.tar", samples(["dog", "cat"] * 5))
    tar(tmp_path / "s" / "1.tar", samples(["dog", "cat"] * 5, first=10))
    for number in range(20):
        put(tmp_path / "files", f"{'cat' if number % 2 else 'dog'}/{number:04}.png", content=picture(number))
    splits, files = open_labelled(tmp_path / "s", CONTRACT), open_labelled(tmp_path / "files", CONTRACT)
    assert splits.class_names == files.class_names == ("cat", "dog")
    whole = list_images(tmp_path / "s")
    assert whole.names[0] == "0.tar/0000.png"
    assert [whole.class_names[label] for label in whole.labels] == ["dog", "cat"] * 10
    for name in ("train", "calibration", "test"):
        assert len(splits.part(name)) == len(files.part(name))
    loaded = data.load("folder", directory=tmp_path / "s", size=8)
    np.testing.assert_array_equal(loaded.train.images, pixels_of(splits.train))
    rows = [int(source[-8:-4]) for source in splits.test.sources]
    np.testing.assert_array_equal(pixels_of(splits.test), expected(rows))


def test_labels_come_from_json_from_numbers_with_a_list_of_names_or_from_folders(tmp_path):
    members = {"a.json": b'{"label": "cat"}', "a.jpg": picture(kind="JPEG"), "b.png": picture(), "b.json": b'{"cls": 1}'}
    found = list_images(tar(tmp_path / "json.tar", members))
    assert (found.class_names, found.labels.tolist()) == (("cat", "1"), [0, 1])
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "classes.txt").write_text("tench\nray\nrobin\n")
    tar(tmp_path / "numbers" / "0.tar", samples([2, 0, 2]))
    found = list_images(tmp_path / "numbers")
    assert found.class_names == ("tench", "robin")
    assert found.labels.tolist() == [1, 0, 1]
    folders = {f"set/train/{name}/{i}.v1.png": picture() for name in ("cat", "dog") for i in range(2)} | {
        "set/test/cat/9.png": picture(),
        "set/readme.txt": b"hello",
    }
    found = list_images(tar(tmp_path / "folders.tar", folders))
    assert found.class_names == ("cat", "dog")
    assert list(map(len, found.split(calibration=0, seed=0))) == [4, 0, 1]
    assert "1 file that is not an image (folders.tar/set/readme.txt)" in said(found)


def test_a_member_whose_name_does_not_say_what_it_is_is_looked_at(tmp_path):
    members = {"0.img": picture(), "0.cls": b"a", "1.jpg": picture(kind="JPEG"), "1.cls": b"b", "1.txt": b"a caption"}
    found = list_images(tar(tmp_path / "0.tar", members))
    assert list(found.names) == ["0.tar/0.img", "0.tar/1.jpg"]
    assert "1 file that is not an image (0.tar/1.txt)" in said(found)
    with pytest.raises(DataError, match="0.tar/2.img is a TIFF image"):
        list_images(tar(tmp_path / "0.tar", members | {"2.img": b"II*\0" + bytes(100), "2.cls": b"b"}))


def test_shards_say_their_part_by_name_or_by_folder(tmp_path):
    for number, name in enumerate(("train-0000-of-0002.tar", "train-0001-of-0002.tar", "val-0000.tar", "extra/test/0.tar")):
        tar(tmp_path / "s" / name, samples(["a", "b"], first=2 * number))
    found = list_images(tmp_path / "s")
    assert list(map(len, found.split(calibration=None, seed=0))) == [4, 2, 2]
    tar(tmp_path / "s" / "more.tar", samples(["a"], first=50))
    with pytest.raises(DataError, match=r"more\.tar is not"):
        list_images(tmp_path / "s")


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path):
    assert list_images(tar(tmp_path / "0.tar", samples([10, 9, 2, 10]))).class_names == ("2", "9", "10")


def test_a_folder_of_images_with_a_stray_archive_stays_a_folder(tmp_path):
    put(tmp_path, "cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    tar(tmp_path / "original.tar", samples(["x", "y"]))
    assert list_images(tmp_path).class_names == ("cat", "dog")


def write_columns(made, path, kind):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    if kind == "parquet":
        parquet.write_table(made, path, row_group_size=7)
        return
    options = pa.ipc.IpcWriteOptions(compression="zstd" if kind == "compressed" else None)
    with pa.OSFile(str(path), "wb") as file:
        new = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with new(file, made.schema, options=options) as writer:
            writer.write_table(made, max_chunksize=7)


KINDS = ["parquet", "arrow", "stream", "compressed"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nested", [False, True])
def test_columns_of_images_are_read_whole(tmp_path, cache, kind, nested):
    pytest.importorskip("pyarrow")
    path = tmp_path / f"part.{'parquet' if kind == 'parquet' else 'arrow'}"
    write_columns(table(TWENTY, names=["cat", "dog"], nested=nested), path, kind)
    found = list_images(path)
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == TWENTY
    assert [found.encoded.read(row) for row in range(20)] == [picture(number) for number in range(20)]
    assert found.names[3] == f"{path.name}/3"
    unpacked = list(cache.rglob("*.images"))
    assert len(unpacked) == (kind in {"parquet", "compressed"})
    before = [file.stat().st_mtime_ns for file in unpacked]
    list_images(path)  # again: nothing is unpacked twice
    assert [file.stat().st_mtime_ns for file in cache.rglob("*.images")] == before


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KINDS), st.data())
def test_columns_that_are_torn_or_damaged_are_refused_or_give_whole_rows(tmp_path, kind, drawn):
    pytest.importorskip("pyarrow")
    path = tmp_path / f"part.{'parquet' if kind == 'parquet' else 'arrow'}"
    write_columns(table(TWENTY), path, kind)
    content = bytearray(path.read_bytes())
    if drawn.draw(st.booleans()):
        del content[drawn.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[drawn.draw(st.integers(0, len(content) - 1))] ^= drawn.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = list_images(path, skip_unusable=True)
    except DataError:
        return
    for row in range(len(found)):
        assert len(found.encoded.read(row)) == found.encoded.size(row)


def test_rows_of_columns_without_an_image_are_named(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    made = pa.table({"jpg": [picture(1), None, picture(2), picture(3)], "cls": ["a", "a", "b", None]})
    parquet.write_table(made, tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet/1 holds no image"):
        list_images(tmp_path / "x.parquet")
    found = list_images(tmp_path / "x.parquet", skip_unusable=True)
    assert len(found) == 2
    assert "1 image in a shard without a label" in said(found)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"ARROW1\0\0 and no more", b"x" * 1000])
@pytest.mark.parametrize("suffix", ["parquet", "arrow", "tar"])
def test_a_shard_that_is_none_is_refused(tmp_path, content, suffix):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / f"broken.{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match="broken"):
        list_images(path)


def test_a_compressed_tar_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "0.tar").write_bytes(b"\x1f\x8b\x08" + b"x" * 600)
    with pytest.raises(DataError, match="compressed.*unpack"):
        list_images(tmp_path / "0.tar")


WHOLE = samples(["a", "b"] * 4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_of_a_torn_shard_what_is_whole_is_read_and_the_rest_is_said(tmp_path, drawn):
    path = tar(tmp_path / "0.tar", WHOLE)
    content = path.read_bytes()
    ends = [match.start() for match in re.finditer(rb"\d{4}\.(png|cls)\0", content)]
    left = drawn.draw(st.integers(ends[4], ends[-1] + 511))
    path.write_bytes(content[:left])
    found = list_images(path, skip_unusable=True)
    images = [(name, found.encoded.read(row)) for row, name in enumerate(found.names)]
    assert images == [(f"0.tar/{number:04}.png", picture(number)) for number in range(len(images))]
    # A sample is lost where its label is: all before the torn one are there.
    assert len(images) >= sum(end + 1024 <= left for end in ends[1::2])
    if len(images) < 8:
        assert said(found)


def test_an_image_that_a_torn_shard_lacks_the_end_of_is_refused_by_name(tmp_path):
    path = tar(tmp_path / "0.tar", samples(["a", "b"] * 2) | {"9999.png": picture(7) * 50})
    path.write_bytes(path.read_bytes()[:-12_000])
    with pytest.raises(DataError, match=r"0\.tar/9999\.png is cut short.*\n.*skip-unreadable"):
        list_images(path)
    assert len(list_images(path, skip_unusable=True)) == 4


def test_a_shard_that_was_cut_since_it_was_listed_gives_faults(tmp_path):
    path = tar(tmp_path / "0.tar", samples(["a", "b"] * 6))
    train = open_labelled(path, CONTRACT, calibration=0).train
    path.write_bytes(path.read_bytes()[:3000])
    read = train.read(np.arange(len(train)))
    assert len(read.faults) + len(read.rows) == len(train)
    assert read.faults
    assert all("cut short" in fault.reason for fault in read.faults)


def test_damage_in_the_middle_of_a_shard_is_said(tmp_path):
    path = tar(tmp_path / "0.tar", samples(["a", "b"] * 4))
    content = bytearray(path.read_bytes())
    place = content.index(b"0004.png")
    content[place : place + 512] = b"z" * 512
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is damaged at byte"):
        list_images(path)
    assert len(list_images(path, skip_unusable=True)) == 4


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_odd_images_in_shards_are_decoded_or_are_faults_with_a_reason(tmp_path):
    colours = Image.effect_noise((40, 30), 60)
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    odd = {
        "long": encoded(Image.new("RGB", (1, 20_000), "green"), "PNG"),
        "cmyk": encoded(colours.convert("CMYK"), "JPEG"),
        "deep": encoded(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50), "PNG"),
        "moving": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "huge": encoded(Image.new("1", (10_000, 10_000)), "PNG"),
        "torn": encoded(colours, "PNG")[:-300],
    }
    suffixes = {"cmyk": "jpg", "moving": "webp"}
    members = {}
    for place, (name, content) in enumerate(odd.items()):
        members |= {f"{name}.{suffixes.get(name, 'png')}": content, f"{name}.cls": b"ab"[place % 2 : place % 2 + 1]}
    tar(tmp_path / "0.tar", members)
    listing = list_images(tmp_path / "0.tar")
    source = data.sources.StreamedFiles.of(listing, CONTRACT)
    read = source.read(np.arange(6))
    assert read.rows.tolist() == [0, 1, 2, 3]
    assert [listing.names[fault.row] for fault in read.faults] == ["0.tar/huge.png", "0.tar/torn.png"]
    assert "10000x10000 pixels; the limit is" in read.faults[0].reason
    assert abs(read.images[3].astype(int) - [255, 0, 0]).max() < 8  # the first frame
    members["film.gif"], members["film.cls"] = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), b"a"
    with pytest.raises(DataError, match=r"film\.gif is a GIF image"):
        list_images(tar(tmp_path / "0.tar", members))
