"""The index of an encoder's own set, where that does not fit in memory: the bundle is the one of a set that does."""

import json

import numpy as np
import pytest

from holdfast import data
from holdfast.bundle import read_manifest
from holdfast.bundle.manifest import DataRecord
from holdfast.data import load_verified, recorded
from holdfast.index_build.cli import main
from holdfast.model.vote import VoteParameters
from tests import bundles
from tests.bundles import Linear
from tests.holdfast.data.folders import classes, picture, put
from tests.holdfast.data.shards import samples, tar


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path):
    classes(tmp_path / "set", "cat", "dog", images=30)
    put(tmp_path / "set", "dog/broken.png", content=picture()[:-40])
    return tmp_path / "set"


def bundle_of(directory, folder):
    """A random encoder that was trained, as its manifest says, on the folder."""
    splits = data.load("folder", directory=folder, size=8, skip_unreadable=True)
    known = DataRecord(name="folder", directory=str(folder), sha256=splits.sha256, calibration=splits.drawn_calibration, seed=0)
    changes = {"data": known, "vote": VoteParameters(k=5)}
    return bundles.write_bundle(directory, Linear.random(8, 16), splits.class_names, **changes)


def described(directory):
    """The manifest but for its times and its own command."""
    values = json.loads((directory / "manifest.json").read_text())
    values["index"].pop("command")
    return {name: value for name, value in values.items() if name not in {"name", "created"}}


def test_an_index_of_a_set_that_is_not_in_memory_is_that_of_the_set_in_memory(folder, tmp_path):
    held, read = (bundle_of(tmp_path / name, folder) for name in ("held", "read"))
    assert main([str(held), "--threads", "1"]) == 0
    assert main([str(read), "--threads", "1", "--memory", "0"]) == 0
    assert described(held) == described(read)


def test_an_image_that_was_lost_since_the_training_is_another_set(folder, tmp_path):
    bundle = bundle_of(tmp_path / "bundle", folder)
    (folder / "cat" / "3.png").unlink()
    assert main([str(bundle), "--threads", "1", "--memory", "0"]) == 2


@pytest.mark.parametrize("memory", ["4", "0"])
def test_the_set_of_an_encoder_may_be_a_single_shard(tmp_path, memory):
    shard = tar(tmp_path / "photos.tar", samples(["cat", "dog"] * 30))
    bundle = bundle_of(tmp_path / "bundle", shard)
    assert main([str(bundle), "--threads", "1", "--memory", memory]) == 0
    assert read_manifest(bundle).index.exemplars == 44


@pytest.mark.parametrize("pictured", [1_000, 10])
def test_an_evaluation_of_a_set_that_is_not_in_memory_reads_the_same_held_out_images(folder, tmp_path, monkeypatch, pictured):
    manifest = read_manifest(bundle_of(tmp_path / "bundle", folder))
    monkeypatch.setattr(recorded, "PICTURED", pictured)
    whole, read = load_verified(manifest), load_verified(manifest, memory=0)
    for part in ("calibration", "test"):
        np.testing.assert_array_equal(getattr(read, part).images, getattr(whole, part).images)
        np.testing.assert_array_equal(getattr(read, part).labels, getattr(whole, part).labels)
    assert len(read.train) == (0 if pictured == 10 else len(whole.train))


def test_memory_that_nothing_is_kept_in_is_refused(folder, tmp_path, capsys):
    bundle = bundle_of(tmp_path / "bundle", folder)
    assert main([str(bundle), "--data", str(folder), "--memory", "2"]) == 2
    assert "--memory does nothing" in capsys.readouterr().err
