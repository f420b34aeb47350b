"""Shards of a set, embedded apart and merged."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

from holdfast.bundle import Bundle
from holdfast.index_build.streaming import parts
from tests import bundles
from tests.bundles import Linear
from tests.index_build.adapting.test_adapt import COLOURS, digits, files, old, photos, run, same_but_for_command, write_folder
from tests.threads import replace_here

__all__ = ["digits", "old", "photos"]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(parts, "ROWS", 10)


def embed_shards(old, photos, tmp_path, count, *words):
    works = [tmp_path / f"work-{number}" for number in range(1, count + 1)]
    for number, work in enumerate(works, start=1):
        assert run(old, "--data", photos, "--shard", f"{number}/{count}", "--out", work, *words) == 0
    return works


def test_shards_merge_to_what_one_run_makes(old, photos, tmp_path, capsys):
    assert run(old, "--data", photos, "--out", tmp_path / "whole", "--calibration", "0.2", "--seed", 5) == 0
    before = files(old)
    works = embed_shards(old, photos, tmp_path, 3, "--calibration", "0.2", "--seed", 5)
    assert run("merge", works[1], works[2], works[0], "--out", tmp_path / "merged") == 0
    same_but_for_command(tmp_path / "whole", tmp_path / "merged")
    assert files(old) == before
    Bundle.open(tmp_path / "merged")


def test_shards_in_one_folder_for_classes_of_before_and_new_ones(old, photos, tmp_path):
    words = ["--merge", "--rename", "red=warm", "--k", "3"]
    assert run(old, "--data", photos, "--out", tmp_path / "whole", "--half", *words) == 0
    for number in (2, 1):
        assert run(old, "--data", photos, "--half", "--shard", f"{number}/2", "--out", tmp_path / "work") == 0
    assert run("merge", tmp_path / "work", "--out", tmp_path / "merged", *words, "--half") == 0
    same_but_for_command(tmp_path / "whole", tmp_path / "merged")


def test_a_finished_shard_is_not_embedded_again(old, photos, tmp_path, monkeypatch):
    (work, _) = embed_shards(old, photos, tmp_path, 2)
    before = files(work)
    (work / "part-000002.npz").write_bytes(b"cut short")

    def embedded_again(self, images):
        calls.append(len(images))
        return embed(self, images)

    from holdfast.model.encoder.onnx import OnnxEncoder

    calls, embed = [], OnnxEncoder.embed
    replace_here(monkeypatch, OnnxEncoder, "embed", embedded_again)
    assert run(old, "--data", photos, "--shard", "1/2", "--out", work) == 0
    assert calls == [10]
    assert {name: content for name, content in files(work).items() if name.endswith(".npz")}.keys() == {
        name for name in before if name.endswith(".npz")
    }


def test_a_shard_that_is_not_there_or_not_finished_is_named(old, photos, tmp_path, capsys):
    works = embed_shards(old, photos, tmp_path, 3)
    assert run("merge", works[0], works[2], "--out", tmp_path / "new") == 2
    assert "shard 2/3 is not finished" in capsys.readouterr().err
    damaged = sorted(works[0].glob("part-*.npz"))[1]
    content = bytearray(damaged.read_bytes())
    content[content.index(parts.EmbeddedPart.load(damaged).embeddings.tobytes()) + 9] ^= 255
    damaged.write_bytes(content)
    assert run("merge", *works, "--out", tmp_path / "new") == 2
    assert "shard 1/3 is not finished" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_shards_of_another_encoder_or_set_are_refused(old, photos, digits, tmp_path, capsys):
    (first, _) = embed_shards(old, photos, tmp_path, 2)
    other = bundles.write_bundle(tmp_path / "other", Linear.random(8, 16, seed=9), digits.class_names)
    assert run(other, "--data", photos, "--shard", "2/2", "--out", tmp_path / "elsewhere") == 0
    capsys.readouterr()
    assert run("merge", first, tmp_path / "elsewhere", "--out", tmp_path / "new") == 2
    assert "another encoder" in capsys.readouterr().err
    assert run("merge", first, "--bundle", other, "--out", tmp_path / "new") == 2
    assert "another encoder" in capsys.readouterr().err
    assert run(old, "--data", photos, "--shard", "2/2", "--seed", 7, "--out", tmp_path / "seeded") == 0
    capsys.readouterr()
    assert run("merge", first, tmp_path / "seeded", "--out", tmp_path / "new") == 2
    assert "another set" in capsys.readouterr().err


def test_a_set_that_changed_since_is_refused(old, photos, tmp_path, capsys):
    works = embed_shards(old, photos, tmp_path, 2)
    write_folder(tmp_path / "more", {"red": (9, 9, 9)}, per_class=1)
    shutil.copy(tmp_path / "more" / "red" / "000.png", photos / "red" / "new.png")
    assert run("merge", *works, "--out", tmp_path / "new") == 2
    assert "no longer the set" in capsys.readouterr().err


def test_shards_that_cannot_be_are_refused(old, photos, tmp_path, capsys):
    before, work = files(photos), tmp_path / "work"
    for words, said in (
        (("--shard", "3/2", "--out", work), "1/2 to 2/2"),
        (("--shard", "1/2", "--out", photos), "holds no shard"),
        (("--shard", "1/2", "--out", work, "--choose-vote"), "merge"),
    ):
        assert run(old, "--data", photos, *words) == 2
        assert said in capsys.readouterr().err
    assert files(photos) == before


def test_a_folder_of_another_shard_is_left_alone(old, photos, tmp_path, capsys):
    (work,) = embed_shards(old, photos, tmp_path, 1)
    other = write_folder(tmp_path / "other", COLOURS, per_class=9)
    before = files(work)
    assert run(old, "--data", other, "--shard", "1/1", "--out", work) == 2
    assert "another set" in capsys.readouterr().err
    assert files(work) == before


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'holdfast[ray]'")
def test_actors_of_ray_make_the_same_bundle(old, photos, tmp_path):
    """By a process of its own, as Ray's driver leaves threads and files behind in the one that it ran in."""
    words = [old, "--data", photos, "--batch-size", 10, "--out"]
    assert run(*words, tmp_path / "one") == 0
    command = [sys.executable, "-m", "holdfast", "index", *map(str, words), str(tmp_path / "two")]
    command += ["--launcher", "ray", "--processes", "2", "--threads", "2"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    same_but_for_command(tmp_path / "one", tmp_path / "two")


def test_without_ray_it_is_said_how_to_get_it(old, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(old, "--data", photos, "--out", tmp_path / "new", "--launcher", "ray") == 2
    assert "holdfast[ray]" in capsys.readouterr().err
