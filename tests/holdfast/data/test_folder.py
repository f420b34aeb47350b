import io
import json

import numpy as np
import pytest
from PIL import Image

from holdfast import data
from holdfast.bundle.manifest import DataRecord
from holdfast.data import DataError
from tests.holdfast.bundle import tiny
from tests.holdfast.data.folders import put


def picture(seed, size=(40, 24), kind="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def fill(folder, classes, count, seed=0):
    for c, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            kind = ("PNG", "JPEG", "WEBP")[i % 3]
            (folder / name / f"{i}.{kind.lower()}").write_bytes(picture(seed + 100 * c + i, kind=kind))


def test_class_folders_are_split(tmp_path):
    fill(tmp_path, ["cat", "bee", "ant"], 10)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    splits = data.load("folder", directory=tmp_path, calibration=3)
    assert splits.class_names == ("ant", "bee", "cat")
    assert [len(part) for part in (splits.train, splits.calibration, splits.test)] == [21, 3, 6]
    assert np.bincount(splits.test.labels).tolist() == [2, 2, 2]
    assert splits.train.images.shape[1:] == (32, 32, 3)
    assert splits.train.sources[0].startswith("ant/")
    assert data.load("folder", directory=tmp_path, calibration=3).sha256 == splits.sha256


def test_given_train_and_test_parts_are_kept(tmp_path):
    fill(tmp_path / "train", ["a", "b"], 9)
    fill(tmp_path / "test", ["a", "b"], 4, seed=50)
    splits = data.load("folder", directory=tmp_path, size=16, calibration=2)
    assert [len(part) for part in (splits.train, splits.calibration, splits.test)] == [16, 2, 8]
    assert all(source.startswith("test/") for source in splits.test.sources)


def test_unreadable_files_are_named_counted_and_refused_unless_asked(tmp_path, capsys):
    fill(tmp_path, ["a", "b"], 6)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "b" / "cut.png").write_bytes(picture(1)[:200])
    (tmp_path / "b" / "page.jpg").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"(?s)2 of 14 files.*b/cut.png: .*b/page.jpg: ") as refused:
        data.load("folder", directory=tmp_path)
    assert "skip" in str(refused.value)
    splits = data.load("folder", directory=tmp_path, skip_unreadable=True)
    assert sum(len(part) for part in (splits.train, splits.calibration, splits.test)) == 12
    said = capsys.readouterr().err
    assert "skipped: 2 of 14 files" in said
    assert "1 file that is not an image (a/notes.txt)" in said


def test_many_unreadable_files_are_not_all_named(tmp_path):
    fill(tmp_path, ["a", "b"], 2)
    for i in range(25):
        (tmp_path / "a" / f"x{i:02}.png").write_bytes(b"")
    with pytest.raises(DataError, match="and 15 more"):
        data.load("folder", directory=tmp_path)


def test_folders_that_make_no_classifier(tmp_path):
    with pytest.raises(DataError, match="--data-dir"):
        data.load("folder")
    with pytest.raises(DataError, match="nowhere"):
        data.load("folder", directory=tmp_path / "nowhere")
    fill(tmp_path / "one", ["only"], 5)
    with pytest.raises(DataError, match="at least two"):
        data.load("folder", directory=tmp_path / "one")
    (tmp_path / "one" / "empty").mkdir()
    with pytest.raises(DataError, match="one class folder with images, only/"):
        data.load("folder", directory=tmp_path / "one")
    fill(tmp_path / "half" / "train", ["a", "b"], 2)
    assert len(data.load("folder", directory=tmp_path / "half").train) == 3
    fill(tmp_path / "half" / "test", ["a", "c"], 2)
    with pytest.raises(DataError, match="has not: c/"):
        data.load("folder", directory=tmp_path / "half")


def test_a_recorded_set_is_looked_for_where_it_was_and_then_where_the_user_says(tmp_path, monkeypatch):
    fill(tmp_path / "pictures", ["a", "b"], 10)
    record = DataRecord(name="folder", directory="pictures", sha256="0" * 64, calibration=2, seed=0)
    training = tiny.manifest().training.model_copy(update={"data": record})
    manifest = tiny.manifest(training=training)
    monkeypatch.chdir(tmp_path)
    found = data.load_recorded(manifest)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="--data-dir"):
        data.load_recorded(manifest)
    assert data.load_recorded(manifest, tmp_path / "pictures").sha256 == found.sha256


def test_how_a_folder_was_read_is_said_in_a_line(tmp_path, capsys):
    fill(tmp_path / "Training", ["a", "b"], 20)
    fill(tmp_path / "Test", ["a"], 4, seed=50)
    data.load("folder", directory=tmp_path)
    said = capsys.readouterr().err
    assert (
        f"{tmp_path}: Test/ and Training/ of class folders: 2 classes, 44 images: 36 train, 4 calibration (drawn), 4 test"
        in said
    )
    assert "the test part has no images of 1 class" in said


def test_a_class_whose_images_are_all_damaged_is_named(tmp_path):
    fill(tmp_path, ["a", "b"], 5)
    for path in (tmp_path / "b").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="no readable training images of b"):
        data.load("folder", directory=tmp_path, skip_unreadable=True)


def test_the_calibration_part_of_a_folder_is_taken_and_drawn_again_alike(tmp_path):
    for seed, (part, count) in enumerate({"train": 10, "valid": 6, "test": 4}.items()):
        fill(tmp_path / part, ["a", "b"], count, seed=1000 * seed)
    (tmp_path / "valid" / "a" / "1.jpeg").write_bytes(b"broken")
    whole = data.load("folder", directory=tmp_path, skip_unreadable=True)
    assert [len(part) for part in (whole.train, whole.calibration, whole.test)] == [20, 11, 8]
    again = data.load("folder", directory=tmp_path, skip_unreadable=True, calibration=whole.drawn_calibration)
    assert again.sha256 == whole.sha256
    fewer = data.load("folder", directory=tmp_path, skip_unreadable=True, calibration=5)
    assert fewer.drawn_calibration == 5
    assert set(fewer.calibration.sources) < {*whole.calibration.sources, "valid/a/1.jpeg"}
    with pytest.raises(DataError, match="13 calibration images"):
        data.load("folder", directory=tmp_path, calibration=13)


def test_a_class_of_two_images_keeps_an_exemplar(tmp_path):
    fill(tmp_path, ["a", "b", "c"], 30)
    fill(tmp_path, ["rare", "single"], 2, seed=5000)
    (tmp_path / "single" / "0.png").unlink()
    for seed in range(5):
        splits = data.load("folder", directory=tmp_path, seed=seed, calibration=20)
        assert set(splits.train.labels.tolist()) == {0, 1, 2, 3, 4}


def test_names_of_any_bytes_are_read_and_written_as_text(tmp_path, capsys):
    names = [b"caf\xe9", b"a\nb", b"[red]", "müde".encode()]
    for name in names:
        put(tmp_path, *(name + b"/\xff%d.png" % i for i in range(6)))
        put(tmp_path, name + b"/\xfe.txt", content=b"text")
    splits = data.load("folder", directory=tmp_path, calibration=2)
    assert splits.class_names == ("[red]", "a\\x0ab", "caf\\xe9", "müde")
    for part in (splits.train, splits.calibration, splits.test):
        assert json.loads(json.dumps(part.sources)) == part.sources
        np.savez(tmp_path / "sources.npz", sources=np.array(part.sources))
        assert np.load(tmp_path / "sources.npz")["sources"].tolist() == part.sources
        " ".join(part.sources).encode()
    assert len(splits.sha256) == 64
    assert "caf\\xe9/\\xfe.txt" in capsys.readouterr().err


def test_a_photograph_of_a_camera_s_size_is_read(tmp_path):
    fill(tmp_path, ["a", "b"], 4)
    camera = io.BytesIO()
    Image.new("RGB", (6000, 4000), (200, 30, 30)).save(camera, "JPEG", quality=30)
    (tmp_path / "a" / "IMG_0001.JPG").write_bytes(camera.getvalue())
    loaded = data.load("folder", directory=tmp_path)
    assert sum(len(part) for part in (loaded.train, loaded.calibration, loaded.test)) == 9
    with pytest.raises(DataError, match="a/IMG_0001.JPG: .*6000x4000 pixels; the limit"):
        data.load("folder", directory=tmp_path, max_pixels=5_000_000)


def test_the_odd_folders_are_read(shared_data):
    folders = sorted(path for path in (shared_data / "odd-folders").iterdir() if path.is_dir())
    assert len(folders) >= 4
    for folder in folders:
        splits = data.load("folder", directory=folder)
        assert set(splits.class_names) >= {"blue", "red"}
        assert len(splits.test) > 0
    digits = data.load("folder", directory=shared_data / "sign-digits")
    assert digits.class_names == tuple("0123456789")
