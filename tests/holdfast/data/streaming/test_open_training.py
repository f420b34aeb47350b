"""A set that is read while it is learned from: the same parts, pixels and hash as in memory."""

import numpy as np
import pytest

from holdfast import data
from holdfast.data import DataError
from holdfast.data.streaming.pool import DecodingPool
from holdfast.data.streaming.training import open_if_large, open_training
from tests.holdfast.data.folders import classes, picture, put
from tests.holdfast.data.shards import samples, tar


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def opened(directory, **options):
    return open_training(directory, 8, decoders=0, quiet=True, **options)


def unlabelled(folder):
    classes(folder, "cat", "dog", "hen", images=9)
    put(folder, *(f"unlabelled/{number}.png" for number in range(5)))


def broken(folder):
    classes(folder, "cat", "dog", images=10)
    for name in ("cat/3.png", "dog/7.png"):
        put(folder, name, content=picture()[:-50])
    put(folder, "unlabelled/0.png")
    put(folder, "unlabelled/1.png", content=b"no image")


def parted(folder):
    for part in ("train", "val", "test"):
        classes(folder / part, "cat", "dog", images=4)


def shards(folder):
    tar(folder / "0.tar", samples(["a", "b", "c"] * 6))


@pytest.mark.parametrize("make", [unlabelled, broken, parted, shards])
@pytest.mark.parametrize("options", [{}, {"calibration": 2, "seed": 3}])
def test_parts_pixels_and_hash_are_those_of_the_set_in_memory(tmp_path, make, options):
    make(tmp_path)
    streamed = opened(tmp_path, skip_unreadable=True, **options)
    loaded = data.load("folder", directory=tmp_path, size=8, skip_unreadable=True, **options)
    assert streamed.sha256 == loaded.sha256
    assert streamed.drawn_calibration == loaded.drawn_calibration
    assert streamed.class_names == loaded.class_names
    for name in ("train", "calibration", "test", "unlabelled", "learned_from"):
        part, held = getattr(streamed, name), getattr(loaded, name)
        assert (part is None) == (held is None)
        if part is None:
            continue
        np.testing.assert_array_equal(part.pixels(np.arange(len(part))), held.images)
        np.testing.assert_array_equal(part.labels, held.labels)
        assert list(part.sources) == held.sources
    counts = np.stack([np.bincount(loaded.learned_from.images[..., c].ravel(), minlength=256) for c in range(3)])
    np.testing.assert_array_equal(streamed.learned_from.counts, counts)


def test_images_that_cannot_be_read_are_refused_by_name_or_counted(tmp_path, capsys):
    broken(tmp_path)
    with pytest.raises(DataError, match=r"(?s)3 of 22 files are not readable.*cat/3\.png.*dog/7\.png.*skip-unreadable"):
        opened(tmp_path)
    open_training(tmp_path, 8, decoders=0, skip_unreadable=True)
    assert "skipped: 3 of 22 files" in capsys.readouterr().err


def test_what_was_seen_of_a_set_is_kept_until_a_file_changes(tmp_path, monkeypatch):
    classes(tmp_path, "cat", "dog", images=5)
    first = opened(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(DecodingPool, "read", lambda *_: pytest.fail("read again"))
        assert opened(tmp_path).sha256 == first.sha256
    put(tmp_path, "cat/0.png", "dog/0.png")
    changed = opened(tmp_path)
    assert changed.sha256 != first.sha256
    assert changed.sha256 == data.load("folder", directory=tmp_path, size=8).sha256


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch, capsys):
    classes(tmp_path / "set", "cat", "dog", images=5)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(opened(tmp_path / "set").learned_from) == 8
    assert capsys.readouterr().err.count("is not kept") == 1


def test_another_size_or_split_is_another_set(tmp_path):
    classes(tmp_path, "cat", "dog", images=10)
    found = {opened(tmp_path).sha256, opened(tmp_path, seed=1).sha256, opened(tmp_path, calibration=3).sha256}
    found.add(open_training(tmp_path, 9, decoders=0, quiet=True).sha256)
    assert len(found) == 4


def test_an_image_that_is_gone_while_the_set_is_used_is_an_error_that_names_it(tmp_path):
    classes(tmp_path, "cat", "dog", images=5)
    train = opened(tmp_path).train
    (tmp_path / train.sources[2]).unlink()
    np.testing.assert_equal(len(train.pixels(np.array([0, 1]))), 2)
    with pytest.raises(DataError, match=f"{train.sources[2]} could be read.*--resume"):
        train.pixels(np.array([1, 2]))


def test_a_set_is_opened_so_only_above_the_bound(tmp_path):
    classes(tmp_path, "cat", "dog", images=5)
    needed = 10 * 8 * 8 * 3 / 1e9
    assert open_if_large(tmp_path, 8, memory=1.01 * needed, decoders=0) is None
    opened_so = open_if_large(tmp_path, 8, memory=0.99 * needed, decoders=0, quiet=True)
    assert opened_so is not None
    assert opened_so.sha256 == opened(tmp_path).sha256
