"""What the scales promise."""

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.trainer.config import Stage
from holdfast.trainer.encoders import AmdimConfig
from holdfast.trainer.objectives import (
    AmdimObjectiveConfig,
    SsatConfig,
)
from holdfast.trainer.presets import CIFAR10_PAPER
from reproduce.ssat import cli
from reproduce.ssat.rows import table_rows
from reproduce.ssat.scales import PAPER, SCALES, SMALL, ladder
from tests.reproduce.tiny import TINY


def test_a_scale_refuses_checkpoints_that_would_not_be_of_one_run() -> None:
    for wrong in ({"checkpoints": (4,)}, {"checkpoints": (2, 3, 4)}, {"checkpoints": (2, 2)}, {"checkpoints": (4, 2)}):
        with pytest.raises(ValueError, match="checkpoints"):
            replace(TINY, **wrong)
    with pytest.raises(ValueError, match="constant"):
        replace(TINY, guided=replace(TINY.guided, schedule="one-cycle"))
    with pytest.raises(ValueError, match="guided"):
        replace(TINY, guided=replace(TINY.guided, objective=SsatConfig()))


def test_the_scales_are_what_they_are_said_to_be() -> None:
    for scale in SCALES.values():
        runs = table_rows(scale, Path("out"))
        assert len(runs) == scale.rows
        assert {run.name for run in runs} == set(scale.minutes)
        assert len({run.config.encoder for run in runs}) == 1
        assert {(run.config.k, run.config.weighting, run.config.threads) for run in runs} == {(75, "uniform", 1)}
        assert all(run.config.epsilon == 4 / 255 for run in runs)
        names = [run.name for run in runs]
        assert all(run.after is None or names.index(run.after) < names.index(run.name) for run in runs)
        assert f"--scale {scale.name}" in cli.description()
    assert 100 < SMALL.expected_minutes < 140
    # The recipe as released: PAPER is the preset, but for the schedule of the fine-tuning.
    amdim, ssat = CIFAR10_PAPER.stages
    assert PAPER.encoder == CIFAR10_PAPER.encoder
    assert PAPER.amdim == amdim
    assert PAPER.guided == replace(ssat, schedule="constant")
    # A finished run of this one exists, and is taken by --amdim.
    assert SMALL.encoder == AmdimConfig(width=48, n_rkhs=128, depth=1, activation="silu")
    assert SMALL.amdim == Stage("amdim", AmdimObjectiveConfig(), steps=2800, batch_size=256, learning_rate=1e-3)
    assert [str(step) for step in ladder().attacks][-9:] == [f"targeted tau 0.05 class {rank}" for rank in range(1, 10)]
