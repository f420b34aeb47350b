import dataclasses

import pytest

from holdfast.trainer.cli import parse
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import AmdimConfig, ResNetConfig, build_encoder, encoder_cost
from holdfast.trainer.objectives import (
    AmdimObjectiveConfig,
    ClustersConfig,
    DeaclConfig,
    SimclrConfig,
    SsatConfig,
    SupervisedAdversarialConfig,
    SupervisedConfig,
)
from holdfast.trainer.presets import DEFAULT, PRESETS

CONFIGS = [
    TrainConfig,
    Stage,
    AmdimConfig,
    ResNetConfig,
    AmdimObjectiveConfig,
    ClustersConfig,
    DeaclConfig,
    SimclrConfig,
    SsatConfig,
    SupervisedConfig,
    SupervisedAdversarialConfig,
]


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_configurations_are_frozen_and_hashable(kind) -> None:
    assert kind.__dataclass_params__.frozen


def test_no_arguments_and_bare_flags_mean_the_default_preset() -> None:
    assert parse([]) == PRESETS[DEFAULT][1]
    changed = parse(["--seed", "3", "--stages.1.objective.epsilon", "0.1", "--encoder.width", "8"])
    assert changed.seed == 3
    assert changed.stages[1].objective.epsilon == 0.1
    assert changed.encoder.width == 8
    assert dataclasses.replace(changed.stages[0]) == PRESETS[DEFAULT][1].stages[0]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_parse_and_say_command_cost_and_accuracy(name: str) -> None:
    told, config = PRESETS[name]
    assert parse([name]) == config
    assert f"python -m trainer {name}" in told
    assert "CPU" in told
    assert "%" in told or "not yet measured" in told
    assert config.out.name == name


@pytest.mark.parametrize(
    ("hard", "soft"), [("digits", "digits-self-supervised"), ("cifar10-label-free", "cifar10-self-supervised")]
)
def test_robust_encoders_share_their_pretraining(hard: str, soft: str) -> None:
    harden, pretrain = PRESETS[hard][1], PRESETS[soft][1]
    assert harden.stages[: len(pretrain.stages)] == pretrain.stages
    assert harden.encoder == pretrain.encoder


@pytest.mark.parametrize("arguments", [["--help"], ["digits", "--help"]])
def test_help_teaches(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "python -m trainer" in out
    if "digits" in arguments:
        assert "Steps between two checkpoints" in " ".join(out.replace("│", " ").split())


@pytest.mark.parametrize("arguments", [["nosuch"], ["digits", "--no-such-flag", "1"], ["--seed", "x"]])
def test_mistakes_are_refused(arguments) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code


def test_a_stage_without_steps_or_with_single_images_is_refused() -> None:
    for change in ({"steps": 0}, {"steps": 1, "batch_size": 1}):
        with pytest.raises(ValueError, match="at least 1 step"):
            Stage("s", SupervisedConfig(), **change)


def test_stages_of_one_name_are_refused_as_the_log_could_not_tell_them_apart() -> None:
    config = PRESETS[DEFAULT][1]
    with pytest.raises(ValueError, match="names"):
        dataclasses.replace(config, stages=(config.stages[0], config.stages[0]))


@pytest.mark.parametrize("flags", [["--epsilon", "-1"], ["--stages.0.steps", "0"], ["--seed", "-2"]])
def test_values_that_no_run_can_have_are_refused_in_words(flags, capsys) -> None:
    with pytest.raises(SystemExit):
        parse(flags)
    assert "at least" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_the_flagship_is_as_large_as_a_bundle_that_travels() -> None:
    config = PRESETS["cifar10-resnet18"][1]
    parameters = encoder_cost(build_encoder(config.encoder)).parameters
    index = 49_000 * (2 * config.encoder.dim + 8)  # numbers in float16, and ids
    assert 2 * parameters + index < 28.5e6  # which leaves as much as graphs, table and report take


def test_presets_that_say_they_take_no_labels_take_none() -> None:
    label_free = {AmdimObjectiveConfig, ClustersConfig, SimclrConfig}
    for name, (told, config) in PRESETS.items():
        if name.endswith(("label-free", "self-supervised")):
            assert {type(stage.objective) for stage in config.stages} <= label_free, name
            assert "with labels" not in told
