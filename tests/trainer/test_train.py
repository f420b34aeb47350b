"""The training loop: what a run leaves, and that it repeats."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from holdfast.errors import HoldfastError
from holdfast.trainer import train
from holdfast.trainer.config import Stage
from holdfast.trainer.loop.averaging import batches_for
from holdfast.trainer.objectives import SupervisedConfig
from tests.trainer.tiny_runs import SMALL, rows, same, splits


def test_the_mean_of_the_weights_is_what_a_stage_leaves(two_stage_run, monkeypatch) -> None:
    config = replace(two_stage_run, stages=(two_stage_run.stages[0], replace(two_stage_run.stages[1], average=0.6)))
    encoders, states = [], []
    build_networks, take_step = train.build_networks, train.take_step

    def build_and_keep(*arguments):
        encoder, objectives = build_networks(*arguments)
        encoders.append(encoder)
        return encoder, objectives

    def step_and_keep(*arguments):
        values = take_step(*arguments)
        states.append({name: value.clone() for name, value in encoders[0].state_dict().items()})
        return values

    monkeypatch.setattr(train, "build_networks", build_and_keep)
    monkeypatch.setattr(train, "take_step", step_and_keep)
    left = train.train(config, splits()).encoder.state_dict()
    first, *others = states[config.stages[0].steps :]
    assert len(others) == 4
    for name, mean in first.items():
        if mean.is_floating_point() and "running" not in name:
            for state in others:
                mean.mul_(0.6).add_(state[name], alpha=0.4)
            torch.testing.assert_close(left[name], mean.contiguous())
    assert not torch.equal(left["to5.0.conv1.weight"], states[-1]["to5.0.conv1.weight"])
    # BatchNorm's statistics are of the batches that would come next, and of nothing before.
    tracked = [value for name, value in left.items() if name.endswith("num_batches_tracked")]
    assert {int(value) for value in tracked} == {batches_for(5)}


def test_images_that_make_no_index_are_refused_before_anything_is_trained(two_stage_run) -> None:
    few = splits(40)
    with pytest.raises(HoldfastError, match=r"k = 41.*--k"):
        train.train(replace(two_stage_run, k=41), few)
    alike = replace(few.train, labels=np.zeros(40, dtype=np.int64))
    with pytest.raises(HoldfastError, match="one class"):
        train.train(two_stage_run, replace(few, train=alike))
    large = tuple(replace(stage, batch_size=100) for stage in two_stage_run.stages)
    with pytest.raises(HoldfastError, match="--threads"):
        train.train(replace(two_stage_run, stages=large, threads=21), few)
    assert not two_stage_run.out.exists()


def test_seeds_matter_and_repeat(two_stage_run, tmp_path) -> None:
    one = train.train(two_stage_run, splits()).encoder
    assert same(one, train.train(replace(two_stage_run, out=tmp_path / "b"), splits()).encoder)
    assert not same(one, train.train(replace(two_stage_run, out=tmp_path / "c", seed=1), splits()).encoder)


def test_what_comes_back_is_ready_for_export(two_stage_run) -> None:
    trained = train.train(two_stage_run, splits())
    assert trained.steps == 9
    assert not trained.encoder.training
    assert all(p.is_contiguous() and p.dtype == torch.float32 for p in trained.encoder.parameters())


def test_under_a_constant_rate_a_short_stage_is_the_beginning_of_a_long_one(two_stage_run, tmp_path) -> None:
    def losses(steps: int, schedule: str) -> list[dict[str, str]]:
        stage = Stage("s", SupervisedConfig(SMALL), steps=steps, batch_size=16, schedule=schedule)
        config = replace(two_stage_run, stages=(stage,), out=tmp_path / f"{schedule}-{steps}")
        train.train(config, splits())
        return rows(config)

    assert losses(5, "constant")[:2] == losses(2, "constant")
    assert losses(5, "one-cycle")[:2] != losses(2, "one-cycle")


def test_torch_keeps_to_one_thread_for_each_replica_and_is_left_as_it_was(two_stage_run, monkeypatch) -> None:
    before, seen = torch.get_num_threads(), []
    take_step = train.take_step

    def step_and_look(*arguments):
        seen.append(torch.get_num_threads())
        return take_step(*arguments)

    monkeypatch.setattr(train, "take_step", step_and_look)
    torch.set_num_threads(3)
    try:
        train.train(replace(two_stage_run, threads=2), splits())
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_a_run_on_two_threads_is_not_the_run_on_one(two_stage_run, tmp_path) -> None:
    two, one = (train.train(replace(two_stage_run, out=tmp_path / f"{n}", threads=n), splits()).encoder for n in (2, 1))
    assert not same(two, one)
