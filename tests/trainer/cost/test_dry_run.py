"""A dry run counts and times every objective, and changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from holdfast.trainer import train
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.cost import dry_run as dry_runs
from holdfast.trainer.cost.dry_run import dry_run
from holdfast.trainer.cost.roofline import Roofline
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import (
    AmdimObjectiveConfig,
    ClustersConfig,
    DeaclConfig,
    FareConfig,
    SimclrConfig,
    SsatConfig,
    TradesConfig,
)
from holdfast.trainer.state import checkpoint
from holdfast.trainer.tensors import tensor_file

OBJECTIVES = (
    AmdimObjectiveConfig(),
    SimclrConfig(hidden=8, projection=8),
    SsatConfig(steps=2),
    SsatConfig(arm="guided", epsilon=0.5, step_size=0.3, steps=2, k=3),
    DeaclConfig(steps=2),
    ClustersConfig(prototypes=40, steps=2),
    TradesConfig(steps=2),
    FareConfig(steps=2),
    SsatConfig(arm="taught", steps=2),
)


@pytest.fixture
def few(digits):
    return replace(digits, train=digits.train.take(np.argsort(digits.train.labels)[:300]))


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    stages = tuple(Stage(f"{i}", objective, steps=3, batch_size=16) for i, objective in enumerate(OBJECTIVES))
    return TrainConfig(ResNetConfig(8, 1, 16), stages, out=tmp_path / "run", device="cpu", log_every=1)


def test_every_objective_is_counted_timed_and_leaves_no_trace(config, few) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = dry_run(replace(config, threads=2), few.train)
    assert torch.equal(torch.get_rng_state(), before)
    assert not config.out.exists()
    assert [each.stage.name for each in found.stages] == [stage.name for stage in config.stages]
    for each in found.stages:
        # A gradient of the encoder at least: a pass forwards and two back.
        assert each.step.operations > 2.9 * 2 * 16 * 0.75e6, each.stage
        assert each.step.bytes > 0
        assert each.seconds is not None
        assert each.seconds > 0
    # DeACL: one pass of the teacher, two steps of two passes, and a gradient of two images.
    by_name = dict(zip(config.stages, found.stages, strict=True))
    simclr, deacl = by_name[config.stages[1]], by_name[config.stages[4]]
    assert deacl.step.operations / simclr.step.operations == pytest.approx(11 / 6, rel=0.05)


def test_of_a_slow_stage_a_step_on_few_images_is_timed_if_that_is_quick_enough(config, few, monkeypatch) -> None:
    config = replace(config, stages=config.stages[1:2])
    monkeypatch.setattr(dry_runs, "measure_roofline", lambda *_: Roofline(1e10, 1e10))
    asked, take = [], dry_runs.StepContext.take
    monkeypatch.setattr(dry_runs.StepContext, "take", lambda self, parallel, n: asked.append(n) or take(self, parallel, n))
    monkeypatch.setattr(dry_runs, "TIMING_BUDGET_S", 0.0)
    (found,) = dry_run(config, few.train).stages
    assert found.seconds is None
    monkeypatch.setattr(dry_runs, "TIMING_BUDGET_S", 2 * max(Roofline(1e10, 1e10).lower_bounds(found.step)))
    assert dry_run(config, few.train).stages[0].seconds > 0
    assert config.stages[0].batch_size not in asked


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("change", [{"optimiser": "sgd"}, {"average": 0.5}, {}])
def test_the_state_that_is_promised_is_the_state_that_is_kept(config, few, precision, change) -> None:
    stages = (replace(config.stages[4], **change),)
    config = replace(config, stages=stages, checkpoint_precision=precision)
    (found,) = dry_run(config, few.train).stages
    train.train(config, few)
    _, kept = tensor_file.read(config.out / checkpoint.FILE)
    assert found.state == tensor_file.size_of(kept.values())


def test_a_run_is_the_same_after_a_dry_run(config, few) -> None:
    config = replace(config, stages=(config.stages[1], config.stages[5]))
    first = train.train(config, few).encoder.state_dict()
    dry_run(config, few.train)
    again = train.train(replace(config, out=config.out.with_name("again")), few).encoder.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
