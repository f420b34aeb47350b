"""Arms of a comparison: trained in slices, measured once, refused where something else lies there."""

import math
from dataclasses import replace
from time import perf_counter as clock

import numpy as np
import pytest
import torch

from holdfast.console import Console
from holdfast.data import load
from holdfast.errors import HoldfastError
from holdfast.interrupts import TimeUpError
from holdfast.model.vote import VoteParameters
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import SupervisedConfig
from reproduce.arms import Arm, is_finished, train_arm
from reproduce.embeddings import embed, linear_right, neighbours_right
from reproduce.kept_results import KeptResults, read, written

VOTE = VoteParameters(k=15)


@pytest.fixture(scope="module")
def splits():
    return load("digits")


def arm_in(directory, **changes):
    stage = Stage("supervised", SupervisedConfig(), steps=12, batch_size=32)
    config = TrainConfig(encoder=ResNetConfig(width=4, blocks=1, dim=16), stages=(stage,), out=directory / "arm")
    return Arm("arm", "an arm", replace(config, **changes))


@pytest.fixture
def quiet():
    return Console(quiet=True)


def test_an_arm_in_slices_is_the_arm_in_one_go(splits, tmp_path, quiet):
    whole = train_arm(arm_in(tmp_path / "whole"), splits, quiet)
    slices = arm_in(tmp_path / "slices")
    for _ in range(20):
        try:
            paused = train_arm(slices, splits, quiet, deadline=clock() + 0.01)
            break
        except TimeUpError:
            continue
    else:
        paused = train_arm(slices, splits, quiet)
    assert is_finished(slices.config, splits.sha256)
    for name, tensor in whole.encoder.state_dict().items():
        assert torch.equal(tensor, paused.encoder.state_dict()[name]), name
    assert train_arm(slices, splits, quiet, deadline=clock() - 1).seconds == paused.seconds


def test_a_directory_with_another_training_is_refused(splits, tmp_path, quiet):
    train_arm(arm_in(tmp_path), splits, quiet)
    with pytest.raises(HoldfastError, match="seed"):
        train_arm(arm_in(tmp_path, seed=1), splits, quiet)


def test_nothing_begins_after_the_deadline(splits, tmp_path, quiet):
    with pytest.raises(TimeUpError):
        train_arm(arm_in(tmp_path), splits, quiet, deadline=clock() - 1)
    assert not (tmp_path / "arm").exists()


def test_figures_are_measured_once_and_survive_the_process(tmp_path):
    measured = []

    def measure():
        measured.append(1)
        return {"right": written(np.array([True, False, True])), "seconds": 1.5}

    identity = {"scale": "ci", "seeds": (0, 1)}
    first = KeptResults(tmp_path / "deep" / "figures.json", identity).of("a", measure)
    again = KeptResults(tmp_path / "deep" / "figures.json", identity)
    assert "a" in again
    assert again.of("a", measure) == first
    assert len(measured) == 1
    assert read(first["right"]).tolist() == [True, False, True]
    with pytest.raises(HoldfastError, match="other"):
        KeptResults(tmp_path / "deep" / "figures.json", identity | {"scale": "small"})


def test_a_damaged_file_of_figures_is_named(tmp_path):
    (tmp_path / "figures.json").write_text('{"identity": {}')
    with pytest.raises(HoldfastError, match="figures.json"):
        KeptResults(tmp_path / "figures.json", {})


def test_a_figure_that_is_no_number_is_not_kept(tmp_path):
    kept = KeptResults(tmp_path / "figures.json", {})
    with pytest.raises(ValueError, match="JSON"):
        kept.of("a", lambda: {"value": math.nan})
    assert not (tmp_path / "figures.json").exists()


def test_neighbours_and_a_linear_probe_read_the_classes_off_an_embedding(splits, tmp_path, quiet):
    encoder = train_arm(arm_in(tmp_path), splits, quiet).encoder
    bank, queries = embed(encoder, splits.train.images), embed(encoder, splits.test.images)
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    right = neighbours_right(encoder, splits.train, splits.test, VOTE)
    assert right.shape == (len(splits.test),)
    assert right.mean() > 0.5
    assert linear_right(bank, splits.train.labels, queries, splits.test.labels).mean() > 0.5
