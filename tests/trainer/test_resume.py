"""A run that was interrupted and resumed, or taken in slices, is the run in one go; another run is refused."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from holdfast.trainer import train
from holdfast.trainer.config import Stage
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.loop.recorder import PausedError
from holdfast.trainer.objectives import DeaclConfig, SupervisedConfig
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import CheckpointError
from tests.trainer.tiny_runs import SMALL, rows, same, splits, twice


@pytest.mark.parametrize("steps", [3, 4, 7])
def test_a_resumed_run_is_the_run_that_was_not_interrupted(two_stage_run, monkeypatch, steps) -> None:
    whole, resumed, again = twice(two_stage_run, monkeypatch, steps)
    assert same(whole.encoder, resumed.encoder)
    assert rows(two_stage_run) == rows(again)
    assert [row["step"] for row in rows(again)] == [*"1234", *"12345"]
    assert rows(again)[0]["1to5"]


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({"objective": DeaclConfig(steps=2)}, 7),
        ({"average": 0.6}, 5),
        ({"average": 0.6}, 7),
        ({"optimiser": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4}, 6),
    ],
    ids=["teacher", "mean-early", "mean-late", "sgd"],
)
def test_all_that_a_stage_remembers_survives_an_interruption(two_stage_run, monkeypatch, change, steps) -> None:
    config = replace(two_stage_run, stages=(two_stage_run.stages[0], replace(two_stage_run.stages[1], **change)))
    whole, resumed, again = twice(config, monkeypatch, steps)
    assert same(whole.encoder, resumed.encoder)
    assert same(whole.encoder, train.train(again, splits()).encoder)  # of a finished run, which changes nothing
    assert same(whole.encoder, checkpoint.load_encoder(again.out))


def test_a_run_on_two_threads_survives_an_interruption_and_goes_on_with_two_alone(two_stage_run, monkeypatch) -> None:
    whole, resumed, again = twice(replace(two_stage_run, threads=2), monkeypatch, 6)
    assert same(whole.encoder, resumed.encoder)
    with pytest.raises(CheckpointError, match="threads: 2 there, 3 now"):
        train.train(replace(again, threads=3), splits())


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_fused_optimiser_survives_an_interruption(two_stage_run, monkeypatch, optimiser) -> None:
    monkeypatch.setattr(train, "sync_every", lambda _: 3)
    stage = Stage("s", SupervisedConfig(SMALL), steps=6, batch_size=16, optimiser=optimiser, learning_rate=1e-2)
    whole, resumed, _ = twice(replace(two_stage_run, stages=(stage,)), monkeypatch, 5)
    assert same(whole.encoder, resumed.encoder)


def clock_of(steps: int) -> Callable[[], float]:
    """A clock that says for so many steps that no time has passed, and a minute later ever after."""
    readings = iter([0.0] * steps)
    return lambda: next(readings, 60.0)


@pytest.mark.parametrize("slices", [(1, 1, 1), (2, 4), (3,), (4, 2)])
def test_a_run_in_slices_is_the_run_in_one_go(two_stage_run, monkeypatch, slices) -> None:
    stages = (two_stage_run.stages[0], Stage("deacl", DeaclConfig(steps=2), steps=5, batch_size=16, average=0.5))
    config = replace(two_stage_run, stages=stages, checkpoint_every=100)
    whole = train.train(config, splits())
    sliced = replace(config, out=config.out.with_name("sliced"), minutes=1.0, resume_if_any=True)
    done = 0
    for steps in slices:
        done += steps
        with monkeypatch.context() as patch:
            patch.setattr(train, "clock", clock_of(steps))
            with pytest.raises(PausedError, match=r"1 minutes .* step \d"):
                train.train(sliced, splits())
        at = checkpoint.load(sliced.out).position
        assert 4 * at.stage + at.step == done
    assert same(whole.encoder, train.train(sliced, splits()).encoder)
    assert rows(config) == rows(sliced)


def test_time_that_is_up_at_the_last_step_does_not_matter_any_more(two_stage_run) -> None:
    config = replace(two_stage_run, stages=(replace(two_stage_run.stages[0], steps=2),), resume_if_any=True, minutes=1e-9)
    with pytest.raises(PausedError, match="step 1"):
        train.train(config, splits())
    assert train.train(config, splits()).steps == 2


def test_minutes_count_from_when_the_invocation_began(two_stage_run) -> None:
    with pytest.raises(PausedError):
        train.train(replace(two_stage_run, minutes=5.0), splits(), begun=time.perf_counter() - 300)
    at = checkpoint.load(two_stage_run.out).position
    assert (at.stage, at.step) == (0, 1)


def test_resume_if_any_begins_where_there_is_nothing_and_refuses_another_training(two_stage_run) -> None:
    once = train.train(replace(two_stage_run, resume_if_any=True), splits())
    assert same(once.encoder, train.train(replace(two_stage_run, resume_if_any=True), splits()).encoder)
    with pytest.raises(CheckpointError, match="seed: 0 there, 1 now"):
        train.train(replace(two_stage_run, resume_if_any=True, seed=1), splits())


def test_a_run_can_start_from_anothers_stages(two_stage_run, tmp_path) -> None:
    config = two_stage_run
    whole = train.train(config, splits())
    first = replace(config, stages=config.stages[:1], out=tmp_path / "first")
    train.train(first, splits())
    rest = train.train(replace(config, out=tmp_path / "rest", start_from=first.out), splits())
    assert same(whole.encoder, rest.encoder)
    other = (replace(config.stages[0], learning_rate=1.0), config.stages[1])
    with pytest.raises(CheckpointError, match="not the first"):
        train.train(replace(config, stages=other, start_from=first.out), splits())
    with pytest.raises(CheckpointError, match=r"--resume.*--start-from"):
        train.train(replace(config, resume=True, start_from=first.out), splits())


def test_another_training_is_refused_with_every_difference(two_stage_run) -> None:
    config = two_stage_run
    train.train(config, splits())
    wider = replace(config, encoder=ResNetConfig(8, 1, 8), seed=5, resume=True)
    with pytest.raises(CheckpointError) as caught:
        train.train(wider, splits(44))
    message = str(caught.value)
    assert "encoder.width: 4 there, 8 now" in message
    assert "seed: 0 there, 5 now" in message
    assert "data.sha256" in message
    assert "learning_rate" not in message
    other = (replace(config.stages[0], objective=SupervisedConfig()), config.stages[1])
    with pytest.raises(CheckpointError, match=r"stages\.0\.objective\.type: AmdimObjectiveConfig there, SupervisedConfig"):
        train.train(replace(config, stages=other, resume=True), splits())


def test_where_and_how_often_may_change_on_resuming(two_stage_run) -> None:
    whole = train.train(two_stage_run, splits())
    resumed = train.train(replace(two_stage_run, resume=True, checkpoint_every=7, log_every=3), splits())
    assert same(whole.encoder, resumed.encoder)


def test_reading_metrics_seldom_is_the_same_run_with_the_same_log(two_stage_run, monkeypatch) -> None:
    """But for the rounding of a fused optimiser, which takes its sums in another order."""
    whole = train.train(two_stage_run, splits())
    monkeypatch.setattr(train, "sync_every", lambda _: 3)
    seldom = replace(two_stage_run, out=two_stage_run.out.with_name("seldom"))
    found = train.train(seldom, splits())
    for (name, ours), theirs in zip(found.encoder.named_parameters(), whole.encoder.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=name)
    assert [(r["stage"], r["step"]) for r in rows(seldom)] == [(r["stage"], r["step"]) for r in rows(two_stage_run)]
    losses = [[float(r["loss"]) for r in rows(each)] for each in (two_stage_run, seldom)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_snapshots_are_kept_on_the_way_and_are_the_same_after_an_interruption(two_stage_run, monkeypatch) -> None:
    _, _, resumed = twice(replace(two_stage_run, keep_every=3), monkeypatch, 6)
    whole = two_stage_run.out
    names = ["amdim-000003", "amdim-000004", "ssat-000003", "ssat-000005"]
    for directory in (whole, resumed.out):
        assert sorted(path.stem for path in (directory / "snapshots").iterdir()) == names
    for stage, step in (("amdim", 3), ("ssat", 3), ("ssat", 5)):
        one, other = (checkpoint.load(run, checkpoint.snapshot_file(stage, step)) for run in (whole, resumed.out))
        assert one.position.step == step
        assert one.tensors.keys() == other.tensors.keys()
        assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    last = checkpoint.load(whole, checkpoint.snapshot_file("ssat", 5)).part("encoder.")
    assert all(torch.equal(tensor, checkpoint.load(whole).part("encoder.")[name]) for name, tensor in last.items())
