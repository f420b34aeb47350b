"""The self-supervised form: a bank of targets, an encoder that follows, and no label."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from holdfast.trainer import train
from holdfast.trainer.config import Stage
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import SelfDistilledConfig, build_objective
from holdfast.trainer.state.checkpoint import load
from tests.trainer.objectives.batches import STILL, batch
from tests.trainer.tiny_runs import rows, same, splits, twice

CONFIG = SelfDistilledConfig(hidden=16, projection=8, augment=STILL)


def built(config=CONFIG, steps: int = 4):
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(4, 1, 8)).train()
    objective = build_objective(config, encoder, 3).train()
    objective.size(12, steps)
    return encoder, objective


def test_the_first_target_is_what_the_mean_says_and_later_ones_follow() -> None:
    encoder, objective = built()
    objective.prepare(encoder, batch(), 1)
    before = copy.deepcopy(objective)
    z = F.normalize(before.mean_head(before.mean_encoder(batch().pixels())), dim=1)
    distance = objective.terms(encoder, batch(), torch.Generator())["distance"]
    bank = objective.bank.values
    assert bank.dtype == torch.float16
    assert torch.allclose(bank.float(), z, atol=2e-3)
    predicted = F.normalize(before.predictor(before.head(encoder(batch().pixels()))), dim=1)
    assert distance.item() == pytest.approx((2 - 2 * (predicted * z).sum(1)).mean().item(), abs=1e-4)
    for weights in (objective.mean_head[-1].weight,):
        with torch.no_grad():
            weights.neg_()
    objective.terms(encoder, batch(), torch.Generator())
    assert torch.allclose(objective.bank.values.float(), F.normalize(0.7 * z - 0.3 * z, dim=1), atol=4e-3)
    assert torch.allclose(objective.bank.values.float().norm(dim=1), torch.ones(12), atol=2e-3)


def test_the_mean_follows_ever_more_slowly() -> None:
    encoder, objective = built(replace(CONFIG, decay=0.5), steps=4)
    objective.prepare(encoder, batch(), 1)
    begun = [parameter.clone() for parameter in encoder.parameters()]
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(1)
    moved, last = [], 0.0
    for step in (2, 3, 4):
        objective.prepare(encoder, batch(), step)
        now = (next(objective.mean_encoder.parameters()) - begun[0]).mean().item()
        moved.append((now - last) / (1 - last))
        last = now
    assert moved == pytest.approx([0.25, 0.5 * (0.5 - 0.5 * 2**-0.5), 0.0], abs=1e-5)


def test_the_mean_does_not_learn_and_no_label_is_read() -> None:
    encoder, objective = built()
    objective.prepare(encoder, batch(), 1)
    other = replace(batch(), labels=torch.full((12,), -1))
    objective.terms(encoder, other, torch.Generator())["distance"].backward()
    assert not [p for p in (*objective.mean_encoder.parameters(), *objective.mean_head.parameters()) if p.requires_grad]
    assert all(p.grad is not None for p in (*encoder.parameters(), *objective.head.parameters()))


def test_a_collapse_is_seen() -> None:
    encoder, objective = built()
    objective.prepare(encoder, batch(), 1)
    objective.terms(encoder, batch(), torch.Generator())
    alive = objective.watched()["spread"].item()
    with torch.no_grad():
        objective.mean_head[-1].weight.zero_()
    objective.terms(encoder, batch(), torch.Generator())
    assert alive > 0.1
    assert objective.watched()["spread"] == 0


@pytest.mark.parametrize("views", [1, 2])
def test_a_run_resumes_to_the_same_encoder(two_stage_run, monkeypatch, views) -> None:
    stage = Stage("distil", replace(CONFIG, views=views), steps=5, batch_size=16)
    config = replace(two_stage_run, stages=(stage,), threads=2)
    whole, resumed, again = twice(config, monkeypatch, 3)
    assert same(whole.encoder, resumed.encoder)
    banks = [load(run.out).part("objective.")["bank.values"] for run in (config, again)]
    assert torch.equal(*banks)
    assert all(float(row["spread"]) > 0 for row in rows(config))
    assert not (config.out / "targets.npz").exists()
    assert train.train(again, splits()).steps == 5


@pytest.mark.parametrize("wrong", [{"momentum": 1.0}, {"decay": 1.5}, {"hidden": 0}])
def test_settings_that_mean_nothing_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="self-distillation needs"):
        SelfDistilledConfig(**wrong)
