"""Processes that train together learn what threads of one process do, and one of them writes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from holdfast.errors import HoldfastError
from holdfast.trainer import train
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.loop import processes
from holdfast.trainer.objectives import DeaclConfig, FareConfig, SelfAdaptiveConfig, build_objective
from tests.trainer.loop.training_process import averaged_and_trained, together
from tests.trainer.tiny_runs import rows, splits


def config_of(out):
    stages = (
        Stage("deacl", DeaclConfig(steps=2), steps=2, batch_size=16, average=0.5),
        Stage("fare", FareConfig(steps=2), steps=2, batch_size=16),
    )
    return TrainConfig(
        encoder=ResNetConfig(4, 1, 8),
        stages=stages,
        out=out,
        log_every=1,
        device="cpu",
        precision="float32",
        estimate_cost=False,
    )


def test_two_processes_train_as_two_threads_of_one(tmp_path):
    together_config = config_of(tmp_path / "processes")
    (first, one), (second, other) = together(averaged_and_trained, together_config, splits())
    # Two shards of the first process had a loss, none of the second.
    assert first == second == ([[1.0, 2.0]], True, 0.5, {"a": 2.0, "b": 5.0}, True)
    threads = replace(config_of(tmp_path / "threads"), threads=2)
    expected = train.train(threads, splits()).encoder.state_dict()
    for name, tensor in expected.items():
        assert np.array_equal(one[name], other[name])
        np.testing.assert_allclose(one[name], tensor.numpy(), rtol=1e-3, atol=1e-4, err_msg=name)
    assert [row["step"] for row in rows(together_config)] == [row["step"] for row in rows(threads)]
    losses = [[float(row["loss"]) for row in rows(config)] for config in (together_config, threads)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert (tmp_path / "processes" / "checkpoint" / "latest.safetensors").is_file()


def test_what_several_processes_cannot_do_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 9)
    with pytest.raises(HoldfastError, match="18 images"):
        train.starting_point(config_of(tmp_path), splits())
    objective = build_objective(SelfAdaptiveConfig(), build_encoder(ResNetConfig(4, 1, 8)), 2)
    with pytest.raises(HoldfastError, match="remembers"):
        processes.refuse_memories(objective, "adaptive")


def test_every_image_of_a_batch_goes_to_one_process(monkeypatch):
    places, found = torch.arange(10, 27), []
    monkeypatch.setattr(processes, "count", lambda: 3)
    for number in range(3):
        monkeypatch.setattr(processes, "number", lambda number=number: number)
        found.append(processes.part_of(places))
    assert torch.equal(torch.cat(found), places)
    assert {len(part) for part in found} == {5, 6}
