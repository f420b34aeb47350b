"""Self-adaptive training as an objective, of TRADES's clean term too, and what it leaves beside a run."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from holdfast.bundle.beliefs import BELIEFS, Beliefs
from holdfast.errors import BundleError
from holdfast.trainer import train
from holdfast.trainer.config import Stage
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import SelfAdaptation, SelfAdaptiveConfig, SupervisedConfig, TradesConfig, build_objective
from holdfast.trainer.state.checkpoint import load
from tests.trainer.objectives.batches import STILL, batch
from tests.trainer.tiny_runs import rows, same, splits, twice

EARLY = SelfAdaptation(momentum=0.5, start=0.5)
TRADES = TradesConfig(steps=1, self_adaptive=EARLY, augment=STILL)


def built(config, steps: int = 4):
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8))
    objective = build_objective(config, encoder, 3).train()
    objective.size(12, steps)
    return encoder.train(), objective


def one_step(config, step: int, seed: int = 1):
    encoder, objective = built(config)
    objective.prepare(encoder, batch(), 1)
    objective.prepare(encoder, batch(), step)
    terms = objective.terms(encoder, batch(), torch.Generator().manual_seed(seed))
    torch.stack(list(terms.values())).sum().backward()
    return terms, objective, encoder


@pytest.mark.parametrize("config", [SelfAdaptiveConfig(start=0.5, augment=STILL), TRADES], ids=["plain", "trades"])
def test_before_the_start_it_is_the_training_on_labels(config) -> None:
    plain = replace(config, self_adaptive=None) if config is TRADES else SupervisedConfig(STILL)
    expected, _, one = one_step(plain, 2)
    found, objective, other = one_step(config, 2)
    assert {name: term.item() for name, term in found.items()} == pytest.approx(
        {name: term.item() for name, term in expected.items()}, rel=1e-6
    )
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)
    assert torch.equal(objective.adaptive.memory.values.argmax(1), batch().labels)
    assert torch.equal(objective.adaptive.memory.values.amax(1), torch.ones(12))


def test_after_it_targets_move_toward_the_clean_view_alone() -> None:
    gentle, fierce = (replace(TRADES, epsilon=epsilon, step_size=epsilon) for epsilon in (1e-6, 1.0))
    _, first, _ = one_step(gentle, 3)
    _, second, _ = one_step(fierce, 3)
    assert not torch.equal(first.adaptive.memory.values.amax(1), torch.ones(12))
    # BatchNorm sees clean and attacked images as one batch, so what is said of the clean ones moves a little.
    assert (first.adaptive.memory.values - second.adaptive.memory.values).abs().max() < 0.5
    assert torch.equal(first.adaptive.memory.values.argmax(1), batch().labels)


def test_the_abstain_loss_is_the_authors() -> None:
    terms, objective, _ = one_step(SelfAdaptiveConfig(momentum=0.5, start=0.0, abstain=True, augment=STILL), 1)
    encoder, fresh = built(SelfAdaptiveConfig(momentum=0.5, start=0.0, abstain=True, augment=STILL))
    logits = fresh.logits(encoder(batch().pixels())).detach().double().numpy()
    assert logits.shape == (12, 4)
    labels, places = batch().labels.numpy(), np.arange(12)
    p, q = (np.exp(part) / np.exp(part).sum(1, keepdims=True) for part in (logits[:, :3], logits))
    target = 0.5 + 0.5 * p[places, labels]
    expected = -(target * np.log(q[places, labels]) + (1 - target) * np.log(q[:, 3])).mean()
    assert terms["cross_entropy"].item() == pytest.approx(expected, rel=1e-4)
    assert objective.adaptive.memory.values[places, labels].numpy() == pytest.approx(target, rel=1e-4)
    assert objective.abstainer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("abstain", [False, True])
@pytest.mark.parametrize("step", [2, 3])
def test_images_without_a_label_teach_only_what_the_model_believes(step, abstain) -> None:
    encoder, objective = built(SelfAdaptiveConfig(start=0.5, augment=STILL, abstain=abstain))
    unknown = torch.tensor([False, True] * 6)
    few = replace(batch(), labels=torch.where(unknown, -1, batch().labels))
    objective.prepare(encoder, few, 1)
    objective.prepare(encoder, few, step)
    loss = objective.terms(encoder, few, torch.Generator().manual_seed(1))["cross_entropy"]
    assert loss.isfinite()
    if step == 2:
        logits = encoder(few.pixels()).detach() @ objective.classifier.weight.T + objective.classifier.bias
        expected = torch.nn.functional.cross_entropy(logits[~unknown], few.labels[~unknown])
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    none = replace(few, labels=torch.full((12,), -1))
    assert objective.terms(encoder, none, torch.Generator())["cross_entropy"].isfinite()


def test_a_classifier_of_an_earlier_stage_fits_one_that_abstains(two_stage_run) -> None:
    abstaining = SelfAdaptiveConfig(start=0.0, abstain=True, augment=STILL)
    stages = (Stage("labels", SupervisedConfig(STILL), steps=1), Stage("adaptive", abstaining, steps=1))
    config = replace(two_stage_run, stages=stages)
    train.train(config, splits())
    assert load(config.out).part("objective.")["classifier.weight"].shape == (2, 8)


@pytest.mark.parametrize(
    "objective", [SelfAdaptiveConfig(momentum=0.5, start=0.3, augment=STILL), TRADES], ids=["plain", "trades"]
)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_resumes_to_the_same_targets_and_leaves_them(two_stage_run, monkeypatch, objective, threads) -> None:
    config = replace(
        two_stage_run, stages=(Stage("adaptive", objective, steps=6, batch_size=16),), threads=threads, checkpoint_every=2
    )
    whole, resumed, again = twice(config, monkeypatch, 5)
    assert same(whole.encoder, resumed.encoder)
    left, later = Beliefs.load(config.out), Beliefs.load(again.out)
    assert left.targets.shape == (40, 2)
    assert np.array_equal(left.targets, later.targets)
    assert left.data_sha256 == splits().sha256
    assert left.targets.sum(1) == pytest.approx(np.ones(40), abs=1e-5)
    assert not np.array_equal(left.targets, load(config.out).part("objective.")["adaptive.memory.values"].numpy())
    assert all(0 <= float(row["changed"]) <= 1 for row in rows(config))


def test_targets_of_another_run_do_not_stay(two_stage_run) -> None:
    Beliefs(np.eye(2, dtype=np.float32), "another").save(two_stage_run.out)
    train.train(replace(two_stage_run, stages=(Stage("labels", SupervisedConfig(STILL), steps=1),)), splits())
    assert Beliefs.load(two_stage_run.out) is None


def test_doubted_is_whose_label_has_less_than_half(tmp_path) -> None:
    targets = np.array([[0.6, 0.4, 0.0], [0.45, 0.3, 0.25], [0.2, 0.7, 0.1], [0.49, 0.0, 0.51]], dtype=np.float32)
    Beliefs(targets, "x").save(tmp_path)
    found = Beliefs.load(tmp_path)
    assert found.believed().tolist() == [0, 0, 1, 2]
    assert found.doubted(np.array([0, 0, 0, 0])).tolist() == [False, False, True, True]
    assert found.doubted(np.array([1, 1, 1, 1])).tolist() == [True, True, False, True]


def test_damaged_targets_are_refused(tmp_path) -> None:
    Beliefs(np.eye(2, dtype=np.float32), "x").save(tmp_path)
    data = (tmp_path / BELIEFS).read_bytes()
    (tmp_path / BELIEFS).write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError, match="--resume"):
        Beliefs.load(tmp_path)
    assert Beliefs.load(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("wrong", [{"reverse": -1.0}, {"reverse": 0.3, "abstain": True}, {"start": 2.0}])
def test_settings_that_mean_nothing_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="at least 0|in \\[0, 1\\]"):
        SelfAdaptiveConfig(**wrong)
