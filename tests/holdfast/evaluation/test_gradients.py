import shutil

import pytest
import torch

from holdfast.attacks.adaptive import LOSSES, AdaptiveAttack
from holdfast.bundle.threat_model import ThreatModel
from holdfast.errors import HoldfastError
from holdfast.evaluation import evaluate
from holdfast.evaluation.cli import main
from holdfast.evaluation.gradients import GradientOptions
from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.export.trained import load_trained
from holdfast.trainer.state.checkpoint import CheckpointError
from tests.trainer.export.checkpoints import write_checkpoint

QUICK = AdaptiveAttack(losses=LOSSES[1:2], steps=8)


@pytest.fixture
def with_run(exported, encoder, tmp_path):
    """The exported bundle with the training run that it might have come from."""
    directory = tmp_path / "tiny"
    shutil.copytree(exported, directory)
    write_checkpoint(directory, ResNetConfig(width=8, dim=24), encoder)
    return directory


def test_options_that_would_do_nothing_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for useless in (GradientOptions(device="cpu"), GradientOptions(precision="bfloat16")):
        with pytest.raises(HoldfastError, match="--gradients torch"):
            useless.open(tmp_path, load_trained)
    with pytest.raises(HoldfastError, match="no GPU"):
        GradientOptions("torch", device="cuda").open(tmp_path, load_trained)


def test_training_runs_are_read_by_the_trainer_alone(tmp_path):
    assert GradientOptions().open(tmp_path) is None
    with pytest.raises(HoldfastError, match=r"holdfast evaluate .* --gradients torch"):
        GradientOptions("torch").open(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        GradientOptions("torch").open(tmp_path, load_trained)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gradients_of_torch_find_what_those_of_the_bundle_find(with_run, digits, precision):
    threat = ThreatModel("linf", 16 / 255)
    own = evaluate(with_run, digits.test, threat=threat, attack=QUICK, limit=60)
    source = GradientOptions("torch", device="cpu", precision=precision)
    encoder = source.open(with_run, load_trained)
    theirs = evaluate(with_run, digits.test, encoder=encoder, threat=threat, attack=QUICK, limit=60)
    assert theirs.clean == own.clean
    assert abs(theirs.robust.successes - own.robust.successes) <= 3
    assert own.robust.successes < own.clean.successes


def test_the_command_takes_gradients_from_a_training_run(with_run, capsys):
    arguments = [str(with_run), "--images", "10", "--steps", "2", "--gradients", "torch", "--device", "cpu"]
    assert main(arguments, load_encoder=load_trained) == 0
    assert "robust accuracy" in capsys.readouterr().out


def test_the_run_of_another_encoder_is_refused(with_run, digits):
    torch.manual_seed(3)
    write_checkpoint(with_run, ResNetConfig(width=8, dim=24), build_encoder(ResNetConfig(width=8, dim=24)))
    with pytest.raises(HoldfastError, match="of another encoder"):
        evaluate(with_run, digits.test, encoder=load_trained(with_run), attack=QUICK, limit=10)
