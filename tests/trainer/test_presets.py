"""Presets: each says its command, cost and accuracy, and is what it says."""

import importlib
import pkgutil
import re

import pytest

from holdfast.trainer import presets
from holdfast.trainer.cli import parse
from holdfast.trainer.cost.encoder_cost import encoder_cost
from holdfast.trainer.encoders import build_encoder
from holdfast.trainer.objectives import (
    AmdimObjectiveConfig,
    AugmentationAdversarialConfig,
    ClustersConfig,
    SimclrConfig,
)
from holdfast.trainer.presets import PRESETS

FAMILIES = [
    importlib.import_module(f"holdfast.trainer.presets.{module.name}") for module in pkgutil.iter_modules(presets.__path__)
]


def family_of(name: str) -> str:
    """The docstring of the file that a preset stands in."""
    (found,) = [family.__doc__ for family in FAMILIES if re.search(rf"python -m trainer {name}\s", family.__doc__)]
    return " ".join(found.split())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_parses_and_its_family_says_command_cost_and_accuracy(name: str) -> None:
    summary, config = PRESETS[name]
    assert parse([name]) == config
    assert config.out.name == name
    assert "CPU" in summary
    assert "%" in summary or "not yet measured" in summary
    for figure in re.findall(r"[\d.]+ %|\d+ minutes|\d+ CPU seconds", summary):
        assert figure in family_of(name), figure


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__.rpartition(".")[2])
def test_every_command_of_a_family_is_a_preset(family) -> None:
    commands = re.findall(r"python -m trainer (\S+)", family.__doc__)
    assert commands
    assert set(commands) <= PRESETS.keys()


@pytest.mark.parametrize(
    ("hard", "soft"), [("digits", "digits-self-supervised"), ("cifar10-label-free", "cifar10-self-supervised")]
)
def test_robust_encoders_share_their_pretraining(hard: str, soft: str) -> None:
    harden, pretrain = PRESETS[hard][1], PRESETS[soft][1]
    assert harden.stages[: len(pretrain.stages)] == pretrain.stages
    assert harden.encoder == pretrain.encoder


def test_the_flagship_is_as_large_as_a_bundle_that_travels() -> None:
    config = PRESETS["cifar10-resnet18"][1]
    parameters = encoder_cost(build_encoder(config.encoder)).parameters
    index = 49_000 * (2 * config.encoder.dim + 8)  # numbers in float16, and ids
    assert 2 * parameters + index < 28.5e6  # which leaves as much as graphs, table and report take


def test_presets_that_say_they_take_no_labels_take_none() -> None:
    label_free = {AmdimObjectiveConfig, AugmentationAdversarialConfig, ClustersConfig, SimclrConfig}
    for name, (summary, config) in PRESETS.items():
        if name.endswith(("label-free", "self-supervised")):
            assert {type(stage.objective) for stage in config.stages} <= label_free, name
            assert "with labels" not in summary
