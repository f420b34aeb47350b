"""A new objective is one file like this one, and one line of `ObjectiveConfig`, which gives it flags."""

from dataclasses import dataclass, replace

import pytest
import torch
import tyro

from holdfast.trainer import train
from holdfast.trainer.config import Stage
from holdfast.trainer.loop.recorder import PausedError
from holdfast.trainer.objectives import ImageBatch, Objective, ObjectiveConfig, SimclrConfig
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
        self.scale = torch.nn.Parameter(torch.ones(()))

    def terms(self, encoder, batch: ImageBatch, generator):
        lengths = encoder(batch.pixels()).float().norm(dim=1) * self.scale
        return {"spread": (lengths - self.config.length).square().mean()}


def test_a_new_objective_is_trained_logged_and_resumed(two_stage_run, tmp_path) -> None:
    config = replace(two_stage_run, stages=(Stage("spread", SpreadConfig(), steps=2, batch_size=16),))
    whole = train.train(config, splits())
    assert [float(row["spread"]) == float(row["loss"]) for row in rows(config)] == [True, True]
    sliced = replace(config, out=tmp_path / "sliced", resume_if_any=True)
    with pytest.raises(PausedError):
        train.train(replace(sliced, minutes=1e-9), splits())
    assert same(whole.encoder, train.train(sliced, splits()).encoder)


def test_its_line_in_the_table_gives_it_flags() -> None:
    chosen = tyro.cli(ObjectiveConfig | SpreadConfig, args=["spread-config", "--length", "3"])
    assert chosen == SpreadConfig(3.0)
    assert tyro.cli(ObjectiveConfig | SpreadConfig, args=["simclr-config"]) == SimclrConfig()
