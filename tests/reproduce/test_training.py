"""Rows that continue from one another."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from holdfast.console import Console
from holdfast.trainer import train
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.state.checkpoint import CheckpointError
from reproduce.arms import is_finished
from reproduce.ssat.continuation import continue_from
from reproduce.ssat.rows import table_rows
from reproduce.ssat.training import is_made, train_row
from tests.reproduce.tiny import TINY, count, same, tensors, trained


def test_a_checkpoint_of_the_fine_tuning_is_that_of_one_run(splits, tmp_path, monkeypatch) -> None:
    amdim = trained("amdim", tmp_path, splits)
    first = trained("ssat-guided-2", tmp_path, splits, source=amdim)
    second = trained("ssat-guided-4", tmp_path, splits, source=first)
    straight = trained("ssat-guided-4", tmp_path / "straight", splits, source=amdim)
    assert same(second, straight)
    assert not torch.equal(tensors(first)["encoder.to7.0.weight"], tensors(second)["encoder.to7.0.weight"])
    logs = [(directory / "log.csv").read_text().splitlines() for directory in (first, second, straight)]
    untimed = partial(re.sub, r"(?<=\d),\d+\.\d\d,", ",", count=1)
    assert untimed(logs[1][-1]) == untimed(logs[2][-1])
    assert logs[1][:-1] == logs[0]


def test_only_the_beginning_of_a_run_is_handed_over(splits, tmp_path) -> None:
    amdim = trained("amdim", tmp_path, splits)
    runs = {run.name: run.config for run in table_rows(TINY, tmp_path / "to")}
    continue_from(amdim, runs["ssat-label-free"], splits.sha256)
    assert not is_finished(runs["ssat-label-free"], splits.sha256)
    continue_from(amdim, runs["amdim"], splits.sha256)
    assert is_finished(runs["amdim"], splits.sha256)
    assert same(amdim, runs["amdim"].out)

    def refused(words: str, config, sha256: str = splits.sha256, source: Path = amdim) -> None:
        target = replace(config, out=tmp_path / "refused")
        with pytest.raises(CheckpointError, match=words):
            continue_from(source, target, sha256)
        assert not target.out.exists()

    stage = TINY.amdim
    for other in (
        replace(stage, learning_rate=1.0),
        replace(stage, steps=8),  # under one cycle, 4 steps of 8 are not 4 of 4
        replace(stage, schedule="constant"),
    ):
        refused("is not how", replace(runs["amdim"], stages=(other,)))
    refused("is not how", runs["supervised"])
    refused("data.sha256", runs["amdim"], sha256="other")
    refused("encoder.width", replace(runs["amdim"], encoder=ResNetConfig(6, 1, 8)))
    first = trained("ssat-guided-2", tmp_path, splits, source=amdim)
    refused("is not how", replace(runs["amdim"], stages=(TINY.amdim,)), source=first)
    slower = replace(runs["ssat-guided-4"].stages[1], learning_rate=1e-4)
    refused("is not how", replace(runs["ssat-guided-4"], stages=(TINY.amdim, slower)), source=first)
    longer = replace(runs["ssat-label-free"], stages=(*runs["ssat-label-free"].stages, TINY.deacl))
    refused("not finished", longer, source=runs["ssat-label-free"].out)


def test_a_finished_run_is_taken_without_a_step_whatever_its_vote(splits, tmp_path, monkeypatch) -> None:
    """Another vote only describes another bundle."""
    run = next(run for run in table_rows(TINY, tmp_path / "old") if run.name == "amdim")
    train.train(replace(run.config, weighting="exponential", k=3), splits)
    new = next(run for run in table_rows(TINY, tmp_path / "new") if run.name == "amdim")
    continue_from(run.directory, new.config, splits.sha256)
    assert is_finished(new.config, splits.sha256)
    steps = count(monkeypatch, train, "take_step")
    train_row(new, splits, Console(quiet=True), source=run.directory)
    assert not steps
    assert not is_made(new, splits)  # trained, but neither exported nor indexed
