"""What is told before a run and after it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from holdfast.trainer import train
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.cost.counting import OperationCount
from holdfast.trainer.cost.dry_run import DryRun, StageDryRun, dry_run
from holdfast.trainer.cost.tables import achieved, amount, duration, outlook
from holdfast.trainer.cost.roofline import Roofline, measure
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import (
    AmdimObjectiveConfig,
    ClustersConfig,
    DeaclConfig,
    SimclrConfig,
    SsatConfig,
    TradesConfig,
)
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.tensor_file import size_of
from holdfast.trainer.train import Throughput

OBJECTIVES = (
    AmdimObjectiveConfig(),
    SimclrConfig(hidden=8, projection=8),
    SsatConfig(steps=2),
    SsatConfig(arm="guided", epsilon=0.5, step_size=0.3, steps=2, k=3),
    DeaclConfig(steps=2),
    ClustersConfig(prototypes=40, steps=2),
    TradesConfig(steps=2),
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


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("change", [{"optimiser": "sgd"}, {"average": 0.5}, {}])
def test_the_state_that_is_promised_is_the_state_that_is_kept(config, few, precision, change) -> None:
    stages = (replace(config.stages[4], **change),)
    config = replace(config, stages=stages, checkpoint_precision=precision)
    (found,) = dry_run(config, few.train).stages
    train.train(config, few)
    _, kept = train.checkpoint.tensor_file.read(config.out / checkpoint.FILE)
    assert found.state == size_of(kept.values())


def test_a_run_is_the_same_after_a_rehearsal(config, few) -> None:
    config = replace(config, stages=(config.stages[1], config.stages[5]))
    first = train.train(config, few).encoder.state_dict()
    dry_run(config, few.train)
    again = train.train(replace(config, out=config.out.with_name("again")), few).encoder.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_ceilings_are_those_of_this_machine() -> None:
    before = torch.get_num_threads()
    found = measure(torch.device("cpu"), torch.float32, 1)
    assert torch.get_num_threads() == before
    assert 1e9 < found.operations < 1e15
    assert 1e8 < found.bytes < 1e13
    assert Roofline(100.0, 10.0).lower_bounds(OperationCount(200, 5)) == (2.0, 0.5)


def test_the_tables_say_what_was_found() -> None:
    stage = Stage("deacl", DeaclConfig(), steps=100, batch_size=50)
    found = StageDryRun(stage, 50, OperationCount(5e12, 2e9), 0.5, 3 * 2**20)
    rehearsal = DryRun((found, replace(found, seconds=None)), Roofline(1e13, 1e10))
    console = Console(width=120, record=True, quiet=True)
    console.quiet = False
    with console.capture() as capture:
        console.print(outlook(rehearsal))
        console.print(achieved([Throughput("deacl", 1000, 20.0)], rehearsal))
        console.print(achieved([Throughput("deacl", 1000, 20.0)], None))
    told = capture.get()
    for words in (
        "100 G",
        "500 T",
        "200 GB",
        "50 s",
        "20 s",
        "3.0 MiB",
        "not tried",
        "10 TFLOP/s, 10 GB/s",
        "50.0%",
        "not counted",
    ):
        assert words in told, words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.123, "0.12 s"), (38.2, "38 s"), (89.9, "90 s"), (91, "1.5 min"), (5399, "90.0 min"), (9000, "2.5 h")],
)
def test_durations_are_told_as_a_person_would(seconds, said) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"), [(12.0, "12"), (1.5e6, "1.5 M"), (16.68e9, "16.7 G"), (3e12, "3 T"), (1.37e17, "137 P")]
)
def test_amounts_have_a_prefix(number, said) -> None:
    assert amount(number) == said
