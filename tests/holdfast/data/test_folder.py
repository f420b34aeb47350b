import io

import numpy as np
import pytest
from PIL import Image

from holdfast import data
from holdfast.bundle.manifest import DataRecord
from holdfast.data import DataError
from tests.holdfast.bundle import tiny


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
    with pytest.raises(DataError, match=r"(?s)2 of 14 files.*a/notes.txt: .*b/cut.png: ") as refused:
        data.load("folder", directory=tmp_path)
    assert "skip" in str(refused.value)
    splits = data.load("folder", directory=tmp_path, skip_unreadable=True)
    assert sum(len(part) for part in (splits.train, splits.calibration, splits.test)) == 12
    assert "skipped: 2 of 14 files" in capsys.readouterr().err


def test_many_unreadable_files_are_not_all_named(tmp_path):
    fill(tmp_path, ["a", "b"], 2)
    for i in range(25):
        (tmp_path / "a" / f"x{i:02}.png").write_bytes(b"")
    with pytest.raises(DataError, match="and 15 more"):
        data.load("folder", directory=tmp_path)


def test_folders_that_make_no_classifier(tmp_path):
    with pytest.raises(DataError, match="--data-dir"):
        data.load("folder")
    with pytest.raises(DataError, match="--data-dir"):
        data.load("folder", directory=tmp_path / "nowhere")
    fill(tmp_path / "one", ["only"], 5)
    with pytest.raises(DataError, match="at least two"):
        data.load("folder", directory=tmp_path / "one")
    (tmp_path / "one" / "empty").mkdir()
    with pytest.raises(DataError, match="no readable images in the class folders empty"):
        data.load("folder", directory=tmp_path / "one")
    fill(tmp_path / "half" / "train", ["a", "b"], 2)
    with pytest.raises(DataError, match="no test/"):
        data.load("folder", directory=tmp_path / "half")
    fill(tmp_path / "half" / "test", ["a", "c"], 2)
    with pytest.raises(DataError, match="has not: c"):
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
