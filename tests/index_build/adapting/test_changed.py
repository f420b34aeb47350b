"""Images that change between the run that embeds them and the one that makes the bundle are never mixed with others."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from holdfast.bundle import Bundle, read_manifest
from holdfast.data import load_verified
from holdfast.index_build.streaming import parts
from holdfast.model.encoder.onnx import OnnxEncoder
from tests.index_build.adapting.test_adapt import digits, old, photos, run, same_but_for_command
from tests.threads import replace_here

__all__ = ["digits", "old", "photos"]


class PowerCutError(Exception):
    pass


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(parts, "ROWS", 10)


def repaint(path, value):
    """Other pixels in a file of the same size, with the same time of change of its content."""
    found = path.stat()
    image = np.asarray(Image.open(path)).copy()
    image[0, 0] = value
    Image.fromarray(image).save(path, compress_level=0)
    assert path.stat().st_size == found.st_size
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.fixture
def uncompressed(photos):
    """The set not compressed, so that other pixels take as many bytes."""
    for path in photos.rglob("*.png"):
        Image.open(path).save(path, compress_level=0)
    return photos


def cut_short(monkeypatch, old, data, out, batches=5):
    embed, calls = OnnxEncoder.embed, []

    def failing(self, images):
        calls.append(len(images))
        if len(calls) > batches:
            raise PowerCutError
        return embed(self, images)

    with monkeypatch.context() as patch:
        replace_here(patch, OnnxEncoder, "embed", failing)
        with pytest.raises(PowerCutError):
            run(old, "--data", data, "--out", out)


def embedded_by(monkeypatch, *words):
    """How many images a run embeds."""
    embed, calls = OnnxEncoder.embed, []

    def counting(self, images):
        calls.append(len(images))
        return embed(self, images)

    with monkeypatch.context() as patch:
        replace_here(patch, OnnxEncoder, "embed", counting)
        assert run(*words) == 0
    return sum(calls)


def exemplar_file(bundle, data):
    """An exemplar of the first piece."""
    return data / Bundle.open(bundle).exemplars.sources[3]


def test_a_resumed_run_embeds_changed_images_again(old, uncompressed, tmp_path, monkeypatch):
    assert run(old, "--data", uncompressed, "--out", tmp_path / "before") == 0
    cut_short(monkeypatch, old, uncompressed, tmp_path / "resumed")
    repaint(exemplar_file(tmp_path / "before", uncompressed), 255)
    assert run(old, "--data", uncompressed, "--out", tmp_path / "resumed") == 0
    assert run(old, "--data", uncompressed, "--out", tmp_path / "anew") == 0
    same_but_for_command(tmp_path / "anew", tmp_path / "resumed")
    ours, theirs = (Bundle.open(tmp_path / name).index.export().embeddings for name in ("resumed", "before"))
    assert np.flatnonzero((ours != theirs).any(axis=1)).tolist() == [3]


def test_a_resumed_run_embeds_untouched_and_merely_touched_images_once(old, uncompressed, tmp_path, monkeypatch):
    whole = embedded_by(monkeypatch, old, "--data", uncompressed, "--out", tmp_path / "whole", "--canary", 0)
    cut_short(monkeypatch, old, uncompressed, tmp_path / "resumed", batches=4)
    for path in uncompressed.rglob("*.png"):
        os.utime(path)
    rest = embedded_by(monkeypatch, old, "--data", uncompressed, "--out", tmp_path / "resumed", "--canary", 0)
    assert rest == whole - 40
    same_but_for_command(tmp_path / "whole", tmp_path / "resumed")


def test_an_image_that_can_be_read_after_all_is_embedded(old, uncompressed, tmp_path, monkeypatch):
    assert run(old, "--data", uncompressed, "--out", tmp_path / "whole") == 0
    path = exemplar_file(tmp_path / "whole", uncompressed)
    content = path.read_bytes()
    path.write_bytes(b"no image")
    assert run(old, "--data", uncompressed, "--skip-unreadable", "--shard", "1/1", "--out", tmp_path / "work") == 0
    path.write_bytes(content)
    assert run(old, "--data", uncompressed, "--skip-unreadable", "--shard", "1/1", "--out", tmp_path / "work") == 0
    assert run("merge", tmp_path / "work", "--out", tmp_path / "merged") == 0
    same_but_for_command(tmp_path / "whole", tmp_path / "merged")


def embed_shards(old, data, tmp_path, which=(1, 2, 3)):
    for number in which:
        assert run(old, "--data", data, "--shard", f"{number}/3", "--out", tmp_path / f"work-{number}") == 0
    return [tmp_path / f"work-{number}" for number in (1, 2, 3)]


def test_a_merge_names_the_image_that_changed_and_its_shard(old, uncompressed, tmp_path, capsys):
    assert run(old, "--data", uncompressed, "--out", tmp_path / "before") == 0
    works = embed_shards(old, uncompressed, tmp_path)
    path = exemplar_file(tmp_path / "before", uncompressed)
    repaint(path, 255)
    capsys.readouterr()
    assert run("merge", *works, "--out", tmp_path / "merged") == 2
    said = capsys.readouterr().err
    assert f"{path.parent.name}/{path.name}" in said
    assert "1/3" in said
    assert not (tmp_path / "merged").exists()
    embed_shards(old, uncompressed, tmp_path, which=(1,))
    assert run("merge", *works, "--out", tmp_path / "merged") == 0
    assert run(old, "--data", uncompressed, "--out", tmp_path / "anew") == 0
    same_but_for_command(tmp_path / "anew", tmp_path / "merged")


def test_a_changed_test_image_is_named_as_well(old, uncompressed, tmp_path, capsys):
    assert run(old, "--data", uncompressed, "--out", tmp_path / "before") == 0
    name = load_verified(read_manifest(tmp_path / "before")).test.sources[0]
    works = embed_shards(old, uncompressed, tmp_path)
    repaint(uncompressed / name, 255)
    capsys.readouterr()
    assert run("merge", *works, "--out", tmp_path / "merged") == 2
    assert name in capsys.readouterr().err


def test_a_copy_of_the_set_with_other_times_is_the_same_set(old, uncompressed, tmp_path):
    assert run(old, "--data", uncompressed, "--out", tmp_path / "whole") == 0
    works = embed_shards(old, uncompressed, tmp_path)
    shutil.copytree(uncompressed, tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(uncompressed)
    (tmp_path / "copy").rename(uncompressed)
    assert run("merge", *works, "--out", tmp_path / "merged") == 0
    same_but_for_command(tmp_path / "whole", tmp_path / "merged")
