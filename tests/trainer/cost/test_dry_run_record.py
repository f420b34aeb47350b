"""A dry run is made once for a run, and again for another one."""

import json
from dataclasses import replace

import pytest

from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.cost import dry_run_record
from holdfast.trainer.cost.dry_run_record import FILE, cached_dry_run
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import SupervisedConfig


@pytest.fixture
def few(digits):
    return digits.train.take(range(200))


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    stage = Stage("s", SupervisedConfig(), steps=1, batch_size=16)
    return TrainConfig(ResNetConfig(4, 1, 8), (stage,), out=tmp_path / "x", device="cpu")


@pytest.fixture
def calls(monkeypatch) -> list[object]:
    """One for each dry run that is made."""
    made: list[object] = []
    dry_run = dry_run_record.dry_run
    monkeypatch.setattr(dry_run_record, "dry_run", lambda *given: made.append(given) or dry_run(*given))
    return made


def test_one_dry_run_serves_all_slices_of_a_run(config, few, calls) -> None:
    first = cached_dry_run(config, few)
    for same in (config, replace(config, minutes=9.0, resume_if_any=True, log_every=3, whitening=0.1)):
        assert cached_dry_run(same, few) == first
    assert len(calls) == 1


def test_the_dry_run_of_another_run_does_not_count(config, few, calls) -> None:
    cached_dry_run(config, few)
    others = (
        replace(config, stages=(replace(config.stages[0], batch_size=32),)),
        replace(config, checkpoint_precision="float16"),
        replace(config, precision="float32"),
    )
    for number, other in enumerate(others, 2):
        cached_dry_run(other, few)
        assert len(calls) == number
    cached_dry_run(others[-1], few.take(range(100)))
    assert len(calls) == len(others) + 2


@pytest.mark.parametrize("damage", ["", '{"provenance": ', "[]", "{}"])
def test_a_damaged_record_is_made_again(config, few, calls, damage) -> None:
    (config.out / FILE).parent.mkdir(parents=True)
    (config.out / FILE).write_text(damage)
    found = cached_dry_run(config, few)
    assert len(calls) == 1
    assert cached_dry_run(config, few) == found
    assert json.loads((config.out / FILE).read_text())["stages"]
