"""Checkpoints of runs that never were."""

from pathlib import Path

from torch import nn

from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import EncoderConfig
from holdfast.trainer.objectives import SupervisedConfig
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import Position


def write_checkpoint(directory: Path, encoder_config: EncoderConfig, encoder: nn.Module) -> None:
    """As a run of one step leaves it that came to `encoder`."""
    config = TrainConfig(encoder_config, (Stage("none", SupervisedConfig(), steps=1),), out=directory)
    states = {"encoder": encoder.state_dict(), "objective": {}, "optimiser": {}}
    checkpoint.save(config, "0" * 64, Position(0, 1, 0.0), states)
