import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.data import LabelledImages, Splits
from holdfast.errors import HoldfastError
from holdfast.trainer import train
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ImageEncoder, ResNetConfig
from holdfast.trainer.loop import device as hardware
from holdfast.trainer.loop.augment import AugmentConfig
from holdfast.trainer.loop.optim import DivergedError
from holdfast.trainer.objectives import AmdimObjectiveConfig, DeaclConfig, SsatConfig, SupervisedConfig
from holdfast.trainer.objectives.amdim import AmdimObjective
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import CheckpointError

SMALL = AugmentConfig(rotate=5)


def splits(n: int = 40) -> Splits:
    random = np.random.default_rng(0)

    def some(count: int) -> LabelledImages:
        images = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        return LabelledImages(images, np.arange(count) % 2, ("a", "b"), [str(i) for i in range(count)])

    return Splits(some(n), some(4), some(4))


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    ssat = SsatConfig(arm="guided", epsilon=0.3, step_size=0.2, steps=2, refresh=2, k=1)
    return TrainConfig(
        encoder=ResNetConfig(4, 1, 8),
        stages=(
            Stage("amdim", AmdimObjectiveConfig(SMALL), steps=4, batch_size=16),
            Stage("ssat", ssat, steps=5, batch_size=16),
        ),
        out=tmp_path / "run",
        checkpoint_every=2,
        log_every=1,
        device="cpu",
    )


def same(one: ImageEncoder, other: ImageEncoder) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def interrupt_after(monkeypatch: pytest.MonkeyPatch, steps: int, error: BaseException) -> None:
    learn, taken = train.learn, []

    def learn_or_stop(*arguments):
        taken.append(1)
        if len(taken) > steps:
            raise error
        return learn(*arguments)

    monkeypatch.setattr(train, "learn", learn_or_stop)


def twice(config: TrainConfig, monkeypatch: pytest.MonkeyPatch, steps: int) -> tuple[train.Trained, train.Trained, TrainConfig]:
    """The run in one go, and the same run interrupted after `steps` and resumed, with the config of the resumed one."""
    whole = train.train(config, splits())
    broken = replace(config, out=config.out.with_name("broken"))
    with monkeypatch.context() as patch:
        interrupt_after(patch, steps, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train.train(broken, splits())
    resumed = replace(broken, resume=True)
    return whole, train.train(resumed, splits()), resumed


def rows(config: TrainConfig) -> list[dict[str, str]]:
    with (config.out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("steps", [3, 4, 7])
def test_a_resumed_run_is_the_run_that_was_not_interrupted(config, monkeypatch, steps) -> None:
    whole, resumed, again = twice(config, monkeypatch, steps)
    assert same(whole.encoder, resumed.encoder)
    told = [{k: v for k, v in row.items() if k != "seconds"} for row in rows(config)]
    assert told == [{k: v for k, v in row.items() if k != "seconds"} for row in rows(again)]
    assert [row["step"] for row in told] == [*"1234", *"12345"]
    assert told[0]["1to5"]


def clock_of(steps: int) -> Callable[[], float]:
    """A clock that says for so many steps that no time has passed, and a minute later ever after."""
    told = iter([0.0] * steps)
    return lambda: next(told, 60.0)


@pytest.mark.parametrize("slices", [(1, 1, 1), (2, 4), (3,), (4, 2)])
def test_a_run_in_slices_is_the_run_in_one_go(config, monkeypatch, slices) -> None:
    stages = (config.stages[0], Stage("deacl", DeaclConfig(steps=2), steps=5, batch_size=16, average=0.5))
    config = replace(config, stages=stages, checkpoint_every=100)
    whole = train.train(config, splits())
    sliced = replace(config, out=config.out.with_name("sliced"), minutes=1.0, resume_if_any=True)
    done = 0
    for steps in slices:
        done += steps
        with monkeypatch.context() as patch:
            patch.setattr(train, "clock", clock_of(steps))
            with pytest.raises(train.TimeUpError, match=r"1 minutes are over after step \d of stage"):
                train.train(sliced, splits())
        at = checkpoint.load(sliced.out).position
        assert 4 * at.stage + at.step == done
    assert same(whole.encoder, train.train(sliced, splits()).encoder)
    lines = [[{k: v for k, v in row.items() if k != "seconds"} for row in rows(each)] for each in (config, sliced)]
    assert lines[0] == lines[1]


def test_time_that_is_up_at_the_last_step_does_not_matter_any_more(config) -> None:
    whole = train.train(config, splits())
    config = replace(config, stages=(*config.stages[:1], replace(config.stages[1], steps=1)), out=config.out.with_name("late"))
    with pytest.raises(train.TimeUpError, match="step 1 of stage 'amdim'"):
        train.train(replace(config, minutes=1e-9), splits())
    for _ in range(3):
        with pytest.raises(train.TimeUpError):
            train.train(replace(config, minutes=1e-9, resume=True), splits())
    last = train.train(replace(config, minutes=1e-9, resume=True), splits())
    assert last.steps == 5
    assert whole.steps == 9


def test_minutes_count_from_when_the_invocation_began(config) -> None:
    with pytest.raises(train.TimeUpError):
        train.train(replace(config, minutes=5.0), splits(), begun=time.perf_counter() - 300)
    train.train(replace(config, minutes=5.0, resume=True), splits(), begun=time.perf_counter())


def test_resume_if_any_begins_where_there_is_nothing_and_refuses_another_training(config) -> None:
    once = train.train(replace(config, resume_if_any=True), splits())
    assert same(once.encoder, train.train(replace(config, resume_if_any=True), splits()).encoder)
    with pytest.raises(CheckpointError, match="seed: 0 there, 1 now"):
        train.train(replace(config, resume_if_any=True, seed=1), splits())


def test_less_than_no_minutes_are_refused(config) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        replace(config, minutes=-1.0)


def test_a_teacher_survives_an_interruption(config, monkeypatch) -> None:
    stages = (config.stages[0], Stage("deacl", DeaclConfig(steps=2), steps=5, batch_size=16))
    config = replace(config, stages=stages)
    whole, resumed, _ = twice(config, monkeypatch, 7)
    assert same(whole.encoder, resumed.encoder)


def averaged(config: TrainConfig) -> TrainConfig:
    """The same run, whose second stage leaves the mean of its weights."""
    return replace(config, stages=(config.stages[0], replace(config.stages[1], average=0.6)))


def test_the_mean_of_the_weights_is_what_a_stage_leaves(config, monkeypatch) -> None:
    config = averaged(config)
    seen: list[dict[str, torch.Tensor]] = []
    build, learn = train.build, train.learn

    def watched(*arguments):
        watched.encoder, objectives = build(*arguments)
        return watched.encoder, objectives

    def and_remember(*arguments):
        values = learn(*arguments)
        seen.append({name: value.clone() for name, value in watched.encoder.state_dict().items()})
        return values

    monkeypatch.setattr(train, "build", watched)
    monkeypatch.setattr(train, "learn", and_remember)
    left = train.train(config, splits()).encoder.state_dict()
    first, *others = seen[config.stages[0].steps :]
    assert len(others) == 4
    for name, mean in first.items():
        if mean.is_floating_point():
            for state in others:
                mean.mul_(0.6).add_(state[name], alpha=0.4)
            torch.testing.assert_close(left[name], mean.contiguous())
    assert not torch.equal(left["to5.0.conv1.weight"], seen[-1]["to5.0.conv1.weight"])


@pytest.mark.parametrize("steps", [5, 7])
def test_the_mean_survives_an_interruption(config, monkeypatch, steps) -> None:
    config = averaged(config)
    whole, resumed, again = twice(config, monkeypatch, steps)
    assert same(whole.encoder, resumed.encoder)
    assert same(whole.encoder, train.train(again, splits()).encoder)
    assert same(whole.encoder, checkpoint.load_encoder(again.out))


@pytest.mark.parametrize("average", [-0.1, 1.0])
def test_a_mean_that_forgets_nothing_or_more_is_refused(average) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        Stage("s", SupervisedConfig(), steps=1, average=average)


def test_resuming_a_finished_run_changes_nothing(config) -> None:
    once = train.train(config, splits())
    assert same(once.encoder, train.train(replace(config, resume=True), splits()).encoder)


def test_a_run_can_start_from_anothers_stages(config, tmp_path) -> None:
    whole = train.train(config, splits())
    first = replace(config, stages=config.stages[:1], out=tmp_path / "first")
    train.train(first, splits())
    rest = train.train(replace(config, out=tmp_path / "rest", start_from=first.out), splits())
    assert same(whole.encoder, rest.encoder)
    other = (replace(config.stages[0], learning_rate=1.0), config.stages[1])
    with pytest.raises(CheckpointError, match="not the first"):
        train.train(replace(config, stages=other, start_from=first.out), splits())
    with pytest.raises(CheckpointError, match="choose one"):
        train.train(replace(config, resume=True, start_from=first.out), splits())


def test_another_training_is_refused_and_the_difference_is_told(config) -> None:
    train.train(config, splits())
    wider = replace(config, encoder=ResNetConfig(8, 1, 8), seed=5, resume=True)
    with pytest.raises(CheckpointError) as caught:
        train.train(wider, splits(44))
    message = str(caught.value)
    assert "encoder.width: 4 there, 8 now" in message
    assert "seed: 0 there, 5 now" in message
    assert "data.sha256" in message
    assert "learning_rate" not in message
    longer = (replace(config.stages[0], objective=SupervisedConfig()), config.stages[1])
    with pytest.raises(CheckpointError, match=r"stages\.0\.objective\.type: AmdimObjectiveConfig there, SupervisedConfig"):
        train.train(replace(config, stages=longer, resume=True), splits())


def test_where_and_how_often_may_change_on_resuming(config) -> None:
    train.train(config, splits())
    train.train(replace(config, resume=True, checkpoint_every=7, log_every=3), splits())


def test_images_that_make_no_index_are_refused_before_anything_is_trained(config) -> None:
    few = splits(40)
    with pytest.raises(HoldfastError, match="k = 41 neighbours"):
        train.train(replace(config, k=41), few)
    alike = replace(few.train, labels=np.zeros(40, dtype=np.int64))
    with pytest.raises(HoldfastError, match="one class"):
        train.train(config, replace(few, train=alike))
    assert not config.out.exists()


def poison(monkeypatch: pytest.MonkeyPatch, step: int, value: float) -> None:
    """Let a term of AMDIM be `value` times itself at a step."""
    terms = AmdimObjective.terms

    def poisoned(self, encoder, batch, generator):
        found = terms(self, encoder, batch, generator)
        poisoned.calls += 1
        return found | {"1to7": found["1to7"] * value} if poisoned.calls == step else found

    poisoned.calls = 0
    monkeypatch.setattr(AmdimObjective, "terms", poisoned)


@pytest.mark.parametrize("every", [1, 2, 3, 25])
@pytest.mark.parametrize(("value", "said"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_nan_stops_with_step_and_values_and_the_last_good_checkpoint_stays(config, monkeypatch, every, value, said) -> None:
    """Also where the host looks only every few steps, as on a GPU: before it keeps anything it has looked."""
    longer = (replace(config.stages[0], steps=9), config.stages[1])
    config = replace(config, stages=longer)
    poison(monkeypatch, 5, value)
    monkeypatch.setattr(train, "sync_every", lambda _: every)
    with pytest.raises(DivergedError, match=rf"step 5 of stage 'amdim': loss {said}.*1to7 {said}"):
        train.train(config, splits())
    kept = checkpoint.load(config.out)
    assert (kept.position.stage, kept.position.step) == (0, 4)
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())
    assert [row["step"] for row in rows(config)] == [*"1234"]


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("fused", [False, True])
def test_an_infinite_gradient_moves_no_weight(optimiser, fused) -> None:
    stage = Stage("s", SupervisedConfig(), steps=1, optimiser=optimiser)
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    adam = train.build_optimiser(stage, layer, torch.nn.Module(), fused=fused)
    root = layer.weight.abs().sqrt().sum()
    root.backward()
    values = train.learn({"root": root.detach()}, adam, stage)
    assert not values["gradient_norm"].isfinite()
    assert layer.weight.item() == 0
    if fused:  # nor does any step after it, which may have been taken before anybody looked
        layer.weight.grad.fill_(1.0)
        train.learn({"root": root.detach()}, adam, stage)
        assert layer.weight.item() == 0


def test_looking_seldom_is_the_same_run_with_the_same_log(config, monkeypatch) -> None:
    """But for the rounding of a fused optimiser, which takes its sums in another order."""
    whole = train.train(config, splits())
    monkeypatch.setattr(train, "sync_every", lambda _: 3)
    seldom = replace(config, out=config.out.with_name("seldom"))
    found = train.train(seldom, splits())
    for (name, ours), theirs in zip(found.encoder.named_parameters(), whole.encoder.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=name)
    assert [(r["stage"], r["step"]) for r in rows(seldom)] == [(r["stage"], r["step"]) for r in rows(config)]
    losses = [[float(r["loss"]) for r in rows(each)] for each in (config, seldom)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_fused_optimiser_survives_an_interruption(config, monkeypatch, optimiser) -> None:
    monkeypatch.setattr(train, "sync_every", lambda _: 3)
    stage = Stage("s", SupervisedConfig(SMALL), steps=6, batch_size=16, optimiser=optimiser, learning_rate=1e-2)
    whole, resumed, _ = twice(replace(config, stages=(stage,)), monkeypatch, 5)
    assert same(whole.encoder, resumed.encoder)


def test_a_gpus_kernels_are_set_and_left_as_they_were() -> None:
    def now() -> tuple[bool, bool, bool]:
        return torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = now()
    with hardware.fast_kernels(torch.device("cuda")):
        assert now() == (True, False, False)
    assert now() == before
    with hardware.fast_kernels(torch.device("cpu")):
        assert now() == before


def test_seeds_matter_and_repeat(config, tmp_path) -> None:
    one = train.train(config, splits()).encoder
    assert same(one, train.train(replace(config, out=tmp_path / "b"), splits()).encoder)
    assert not same(one, train.train(replace(config, out=tmp_path / "c", seed=1), splits()).encoder)


def test_what_comes_back_is_ready_for_export(config) -> None:
    trained = train.train(config, splits())
    assert trained.steps == 9
    assert not trained.encoder.training
    assert all(p.is_contiguous() and p.dtype == torch.float32 for p in trained.encoder.parameters())


def test_every_epoch_sees_each_image_at_most_once_and_orders_differ() -> None:
    train_set = train.to_device(splits(40).train, torch.device("cpu"))
    numbered = replace(train_set, labels=torch.arange(40))
    stage = Stage("s", SupervisedConfig(), steps=9, batch_size=16)
    epochs = [torch.cat([train.draw(numbered, stage, 0, step).labels for step in pair]) for pair in ((1, 2), (3, 4))]
    assert all(len(epoch.unique()) == 32 for epoch in epochs)
    assert not torch.equal(*epochs)
    huge = replace(stage, batch_size=1000)
    assert len(train.draw(numbered, huge, 0, 7).labels.unique()) == 40


def test_the_learning_rate_is_one_cycle() -> None:
    stage = Stage("s", SupervisedConfig(), steps=100, learning_rate=0.5, warmup=0.2)
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    rates = []
    for step in range(1, 101):
        train.set_learning_rate(optimiser, stage, step)
        rates.append(optimiser.param_groups[0]["lr"])
    assert max(rates) == rates[19] == pytest.approx(0.5)
    assert rates[:20] == sorted(rates[:20])
    assert rates[19:] == sorted(rates[19:], reverse=True)
    assert 0 < rates[-1] < 0.001


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_a_constant_learning_rate_is_constant(steps) -> None:
    stage = Stage("s", SupervisedConfig(), steps=steps, learning_rate=0.5, schedule="constant")
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], 0.1)
    for step in range(1, steps + 1):
        train.set_learning_rate(optimiser, stage, step)
        assert optimiser.param_groups[0]["lr"] == 0.5


def test_under_a_constant_rate_a_short_stage_is_the_beginning_of_a_long_one(config, tmp_path) -> None:
    def losses(steps: int, schedule: str) -> list[dict[str, str]]:
        stage = Stage("s", SupervisedConfig(SMALL), steps=steps, batch_size=16, schedule=schedule)
        train.train(replace(config, stages=(stage,), out=tmp_path / f"{schedule}-{steps}"), splits())
        with (tmp_path / f"{schedule}-{steps}" / "log.csv").open(newline="") as file:
            return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]

    assert losses(5, "constant")[:2] == losses(2, "constant")
    assert losses(5, "one-cycle")[:2] != losses(2, "one-cycle")


def test_a_gpu_that_is_not_there_is_said_so(config, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HoldfastError, match="no GPU"):
        train.train(replace(config, device="cuda"), splits())


def test_torch_keeps_to_one_thread_for_each_share_and_is_left_as_it_was(config, monkeypatch) -> None:
    before, seen = torch.get_num_threads(), []
    learn = train.learn

    def watched(*arguments):
        seen.append(torch.get_num_threads())
        return learn(*arguments)

    monkeypatch.setattr(train, "learn", watched)
    torch.set_num_threads(3)
    try:
        train.train(replace(config, threads=2), splits())
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_a_run_on_two_threads_repeats_and_survives_an_interruption(config, tmp_path, monkeypatch) -> None:
    config = replace(config, threads=2)
    whole, resumed, again = twice(config, monkeypatch, 6)
    assert same(whole.encoder, resumed.encoder)
    assert not same(whole.encoder, train.train(replace(config, out=tmp_path / "one", threads=1), splits()).encoder)
    with pytest.raises(CheckpointError, match="threads: 2 there, 3 now"):
        train.train(replace(again, threads=3), splits())


def test_sgd_survives_an_interruption(config, monkeypatch) -> None:
    stage = Stage("s", SupervisedConfig(SMALL), steps=6, batch_size=16, optimiser="sgd", learning_rate=0.1, weight_decay=5e-4)
    config = replace(config, stages=(stage,))
    whole, resumed, _ = twice(config, monkeypatch, 3)
    assert same(whole.encoder, resumed.encoder)
    optimiser = train.build_optimiser(stage, whole.encoder.requires_grad_(), torch.nn.Linear(1, 1))
    assert isinstance(optimiser, torch.optim.SGD)
    assert optimiser.param_groups[0]["nesterov"]
    assert optimiser.param_groups[0]["weight_decay"] == 5e-4


def test_batches_too_small_for_the_threads_are_refused(config) -> None:
    with pytest.raises(ValueError, match="9 threads need batches of at least 18 images: amdim, ssat"):
        replace(config, threads=9)
    few = tuple(replace(stage, batch_size=100) for stage in config.stages)
    with pytest.raises(HoldfastError, match="fewer --threads"):
        train.train(replace(config, stages=few, threads=21), splits(40))
