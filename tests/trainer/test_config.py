import dataclasses

import pytest

from holdfast.trainer.cli import parse
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import AmdimConfig, ResNetConfig
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


@pytest.mark.parametrize("arguments", [["--help"], ["digits", "--help"]])
def test_help_teaches(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "holdfast train" in out
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


@pytest.mark.parametrize("average", [-0.1, 1.0])
def test_a_mean_that_forgets_nothing_or_everything_is_refused(average) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        Stage("s", SupervisedConfig(), steps=1, average=average)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"minutes": -1.0}, "minutes"),
        ({"threads": 0}, "thread"),
        ({"threads": 65}, "130 images"),
        ({"compile": True, "threads": 2}, "--compile"),
        ({"whitening": -0.1}, "whitening"),
        ({"whitening": 0.6}, "whitening"),
        ({"whitening": float("nan")}, "whitening"),
        ({"checkpoint_part": -1.0}, "4096 bytes"),
        ({"checkpoint_part": 0.001}, "4096 bytes"),
    ],
    ids=str,
)
def test_runs_that_cannot_be_are_refused(change, said) -> None:
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(PRESETS[DEFAULT][1], **change)
