import shutil
from dataclasses import replace

import pytest
import torch

from holdfast.attacks.adaptive import LOSSES, AdaptiveAttack
from holdfast.bundle.threat_model import ThreatModel
from holdfast.errors import HoldfastError
from holdfast.evaluation import evaluate
from holdfast.evaluation.cli import main
from holdfast.evaluation.gradients import GradientOptions
from holdfast.trainer import train
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import AmdimConfig, ResNetConfig, build_encoder
from holdfast.trainer.objectives import SupervisedConfig
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import CheckpointError, Position

QUICK = AdaptiveAttack(losses=LOSSES[1:2], steps=8)


def write_checkpoint(directory, encoder_config, encoder):
    config = TrainConfig(encoder_config, (Stage("none", SupervisedConfig(), steps=1),), out=directory)
    states = {"encoder": encoder.state_dict(), "objective": {}, "optimiser": {}}
    checkpoint.save(config, "0" * 64, Position(0, 1, 0.0), states)


@pytest.fixture
def with_run(exported, encoder, tmp_path):
    """The bundle of conftest with the training run that it might have come from."""
    directory = tmp_path / "tiny"
    shutil.copytree(exported, directory)
    write_checkpoint(directory, ResNetConfig(width=8, dim=24), encoder)
    return directory


@pytest.mark.parametrize("config", [ResNetConfig(4, 1, 8, activation="gelu"), AmdimConfig(4, 8, 1)])
def test_an_encoder_comes_back_as_it_was_saved(tmp_path, config) -> None:
    encoder = build_encoder(config).eval()
    write_checkpoint(tmp_path, config, encoder)
    loaded = checkpoint.load_encoder(tmp_path)
    pixels = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(pixels), encoder(pixels))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_run_that_is_not_there_or_does_not_fit_is_said_so(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        GradientOptions("torch").open(tmp_path)
    write_checkpoint(tmp_path, AmdimConfig(4, 8, 2), build_encoder(AmdimConfig(4, 8, 1)))
    with pytest.raises(CheckpointError, match="no encoder that this holdfast can build"):
        GradientOptions("torch").open(tmp_path)


def test_options_that_would_do_nothing_are_refused(tmp_path, monkeypatch, exported, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for useless in (GradientOptions(device="cpu"), GradientOptions(precision="bfloat16")):
        with pytest.raises(HoldfastError, match="--gradients torch"):
            useless.open(tmp_path)
    with pytest.raises(HoldfastError, match="no GPU"):
        GradientOptions("torch", device="cuda").open(tmp_path)
    assert main([str(exported), "--precision", "bfloat16"]) != 0
    assert "--gradients torch" in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gradients_of_torch_find_what_those_of_the_bundle_find(with_run, digits, precision) -> None:
    threat = ThreatModel("linf", 16 / 255)
    own = evaluate(with_run, digits.test, threat=threat, attack=QUICK, limit=60)
    source = GradientOptions("torch", device="cpu", precision=precision)
    theirs = evaluate(with_run, digits.test, encoder=source.open(with_run), threat=threat, attack=QUICK, limit=60)
    assert theirs.clean == own.clean
    assert abs(theirs.robust.successes - own.robust.successes) <= 3
    assert own.robust.successes < own.clean.successes


def test_the_run_of_another_encoder_is_refused(with_run, digits) -> None:
    torch.manual_seed(3)
    write_checkpoint(with_run, ResNetConfig(width=8, dim=24), build_encoder(ResNetConfig(width=8, dim=24)))
    with pytest.raises(HoldfastError, match="of another encoder"):
        evaluate(with_run, digits.test, encoder=GradientOptions("torch").open(with_run), attack=QUICK, limit=10)


def test_a_training_run_can_be_loaded(tmp_path, digits) -> None:
    config = TrainConfig(
        ResNetConfig(4, 1, 8), (Stage("s", SupervisedConfig(), steps=2, batch_size=16),), out=tmp_path, k=5, device="cpu"
    )
    trained = train.train(config, replace(digits, train=digits.train.take(range(40))))
    loaded = checkpoint.load_encoder(tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(trained.encoder.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
