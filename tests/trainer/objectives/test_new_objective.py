"""A new objective is one file like this one, and one line of `ObjectiveConfig`, which gives it flags."""

from dataclasses import dataclass, replace

import pytest
import torch
import tyro

from holdfast.trainer import train
from holdfast.trainer.config import Stage
from holdfast.trainer.loop.recorder import PausedError
from holdfast.trainer.objectives import ImageBatch, ImageMemory, Objective, ObjectiveConfig, Player, SimclrConfig
from holdfast.trainer.state.checkpoint import load
from tests.trainer.tiny_runs import rows, same, splits


@dataclass(frozen=True)
class SpreadConfig:
    """Train for embeddings of one length."""

    length: float = 2.0
    """Length of the embeddings."""

    def build(self, encoder, classes):
        return Spread(self)


class Spread(Objective):
    names = ("spread",)

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.scale = torch.nn.Linear(1, 1, bias=False)
        self.lengths = ImageMemory()

    def players(self):
        return (Player("scale", (self.scale,), rate=0.5, clip=1e-3),)

    def terms(self, encoder, batch: ImageBatch, generator):
        assert self.stage_steps == 2
        now = encoder(batch.pixels()).float().norm(dim=1)
        lengths = now * self.scale.weight[0, 0] + self.lengths.at(batch.rows)
        self.lengths.write(batch.rows, 0.1 * now)
        return {"spread": (lengths - self.config.length).square().mean()}


def test_a_new_objective_is_trained_logged_and_resumed(two_stage_run, tmp_path) -> None:
    config = replace(two_stage_run, stages=(Stage("spread", SpreadConfig(), steps=2, batch_size=16),))
    whole = train.train(config, splits())
    assert [float(row["spread"]) == float(row["loss"]) for row in rows(config)] == [True, True]
    assert all(float(row["gradient_norm"]) > 0 and float(row["gradient_norm_scale"]) > 0 for row in rows(config))
    sliced = replace(config, out=tmp_path / "sliced", resume_if_any=True)
    with pytest.raises(PausedError):
        train.train(replace(sliced, minutes=1e-9), splits())
    assert same(whole.encoder, train.train(sliced, splits()).encoder)
    kept = [load(run.out).part("objective.")["lengths.values"] for run in (config, sliced)]
    assert kept[0].shape == (40,)
    assert (kept[0] > 0).sum() == 32
    assert torch.equal(*kept)


def test_its_line_in_the_table_gives_it_flags() -> None:
    chosen = tyro.cli(ObjectiveConfig | SpreadConfig, args=["spread-config", "--length", "3"])
    assert chosen == SpreadConfig(3.0)
    assert tyro.cli(ObjectiveConfig | SpreadConfig, args=["simclr-config"]) == SimclrConfig()
