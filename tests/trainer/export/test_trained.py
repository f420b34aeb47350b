from dataclasses import replace

import pytest
import torch

from holdfast import data
from holdfast.trainer import train
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import AmdimConfig, ResNetConfig, build_encoder
from holdfast.trainer.export.trained import load_trained
from holdfast.trainer.objectives import SupervisedConfig
from holdfast.trainer.state.checkpoint import CheckpointError
from tests.trainer.export.checkpoints import write_checkpoint


@pytest.mark.parametrize("config", [ResNetConfig(4, 1, 8, activation="gelu"), AmdimConfig(4, 8, 1)])
def test_an_encoder_comes_back_as_it_was_saved(tmp_path, config) -> None:
    encoder = build_encoder(config).eval()
    write_checkpoint(tmp_path, config, encoder)
    loaded = load_trained(tmp_path)
    pixels = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(pixels), encoder(pixels))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_run_that_is_not_there_or_does_not_fit_is_refused(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_trained(tmp_path)
    write_checkpoint(tmp_path, AmdimConfig(4, 8, 2), build_encoder(AmdimConfig(4, 8, 1)))
    with pytest.raises(CheckpointError, match="no encoder"):
        load_trained(tmp_path)


def test_a_training_run_can_be_loaded(tmp_path) -> None:
    digits = data.load("digits")
    config = TrainConfig(
        ResNetConfig(4, 1, 8), (Stage("s", SupervisedConfig(), steps=2, batch_size=16),), out=tmp_path, k=5, device="cpu"
    )
    trained = train.train(config, replace(digits, train=digits.train.take(range(40))))
    loaded = load_trained(tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(trained.encoder.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
