"""A set that is not in memory gives the same batches, so the same encoder to the bit, whole or in slices."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast import data
from holdfast.bundle.reader import read_manifest
from holdfast.data import Splits
from holdfast.data.streaming.training import StreamedTraining, open_training
from holdfast.data.streams import StreamConfig
from holdfast.errors import HoldfastError
from holdfast.index_build import cli as index_cli
from holdfast.trainer import cli, train
from holdfast.trainer.config import Stage
from holdfast.trainer.loop.recorder import PausedError
from holdfast.trainer.objectives import (
    ClustersConfig,
    SelfAdaptiveConfig,
    SequentialConfig,
    SimclrConfig,
    SupervisedConfig,
    TradesConfig,
)
from tests.trainer.tiny_runs import SMALL, same, two_stages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty pictures of noise, one of which cannot be read."""
    place, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(60):
        path = place / "set" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (36, 40, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    return place / "set"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def streamed(folder, decoders=0):
    return open_training(folder, 32, skip_unreadable=True, decoders=decoders, quiet=True)


def loaded(folder):
    return data.load("folder", directory=folder, size=32, skip_unreadable=True)


def stage(objective, name="s", **options):
    return Stage(name, objective, **({"steps": 5, "batch_size": 16} | options))


ADVERSARIAL = {"epsilon": 0.1, "steps": 1, "step_size": 0.1}
RUNS = {
    "supervised, with a mean": (stage(SupervisedConfig(SMALL), average=0.6),),
    "trades": (stage(TradesConfig(**ADVERSARIAL, augment=SMALL), steps=3),),
    "a teacher's clusters": (
        stage(SimclrConfig(augment=SMALL), "one", steps=2),
        stage(ClustersConfig(**ADVERSARIAL, prototypes=4, augment=SMALL), "two", steps=2),
    ),
    "self-adaptive": (stage(SelfAdaptiveConfig(augment=SMALL)),),
    "chunks": (
        stage(SequentialConfig(SimclrConfig(augment=SMALL)), "one", chunk=0, steps=2),
        stage(SequentialConfig(SimclrConfig(augment=SMALL)), "two", chunk=1, steps=2),
    ),
}


SLOW = {"self-adaptive", "trades"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in RUNS])
def test_a_run_on_a_set_that_is_not_in_memory_makes_the_same_encoder(folder, tmp_path, name):
    config = replace(two_stages(tmp_path / "memory"), stages=RUNS[name], k=3)
    if name == "chunks":
        config = replace(config, stream=StreamConfig(chunks=2))
    in_memory = train.train(config, loaded(folder))
    read = train.train(replace(config, out=tmp_path / "read"), streamed(folder))
    assert same(in_memory.encoder, read.encoder)


@pytest.mark.slow
def test_ssat_on_two_threads_with_processes_that_decode_makes_the_same_encoder(folder, tmp_path):
    config = replace(two_stages(tmp_path / "memory"), threads=2, k=3)
    splits = streamed(folder, decoders=2)
    try:
        read = train.train(replace(config, out=tmp_path / "read"), splits)
    finally:
        splits.close()
    assert same(train.train(config, loaded(folder)).encoder, read.encoder)


@pytest.mark.parametrize("begins", [streamed, loaded])
def test_a_run_can_be_resumed_within_an_epoch_from_disk_or_in_memory(folder, tmp_path, monkeypatch, begins):
    config = replace(two_stages(tmp_path / "whole"), stages=(stage(SupervisedConfig(SMALL), steps=9),), k=3)
    whole = train.train(config, loaded(folder))
    sliced = replace(config, out=tmp_path / "sliced", minutes=1e-9)
    with pytest.raises(PausedError):
        train.train(sliced, begins(folder))
    goes_on = loaded if begins is streamed else streamed
    resumed = train.train(replace(sliced, minutes=0.0, resume=True, memory=0.0, decoders=3), goes_on(folder))
    assert same(whole.encoder, resumed.encoder)


def test_what_needs_the_whole_set_is_refused(folder, tmp_path):
    config = replace(two_stages(tmp_path / "run"), stream=StreamConfig(order="domain", chunks=5), k=3)
    with pytest.raises(HoldfastError, match="--memory"):
        train.train(config, streamed(folder))
    config = replace(config, data="folder", data_dir=folder, memory=0.0, skip_unreadable=True, label_noise=0.1)
    with pytest.raises(HoldfastError, match="--memory"):
        cli.open_splits(config)


def test_a_folder_is_read_into_memory_up_to_the_bound(folder, tmp_path):
    needed = 59 * 32 * 32 * 3 / 1e9
    config = replace(two_stages(tmp_path / "run"), data="folder", data_dir=folder, skip_unreadable=True, decoders=0)
    assert isinstance(cli.open_splits(replace(config, memory=1.1 * needed)), Splits)
    assert isinstance(cli.open_splits(replace(config, memory=0.9 * needed)), StreamedTraining)


@pytest.mark.slow
def test_the_command_trains_from_disk_and_its_bundle_is_indexed(folder, tmp_path, capsys):
    flags = ["--encoder.width", "4", "--encoder.dim", "8", "--stages.0.steps", "2", "--stages.1.steps", "2", "--memory", "0"]
    flags += ["--decoders", "0", "--skip-unreadable", "--out", str(tmp_path / "run")]
    assert cli.main(["--data", str(folder), *flags]) == 0
    assert "images are read while they are learned from" in capsys.readouterr().err
    assert index_cli.main([str(tmp_path / "run")]) == 0
    manifest = read_manifest(tmp_path / "run")
    assert manifest.index is not None
    assert (
        manifest.trained.data.sha256
        == data.load(
            "folder", directory=folder, size=32, skip_unreadable=True, calibration=manifest.trained.data.calibration
        ).sha256
    )


def test_statistics_by_counts_are_those_by_pixels(folder):
    images = loaded(folder).train.images
    encoder = two_stages(folder).encoder.build().normalise
    encoder.fit(torch.from_numpy(images))
    mean, std = encoder.mean.clone(), encoder.std.clone()
    encoder.fit_counts(torch.from_numpy(streamed(folder).train.counts))
    assert torch.equal(mean, encoder.mean)
    assert torch.equal(std, encoder.std)
