"""The encoder of a training run as it was exported."""

from pathlib import Path

from torch import nn

from holdfast.trainer.export import rounding, whitening
from holdfast.trainer.state.checkpoint import load_encoder


def load_trained(directory: Path) -> nn.Module:
    """The encoder that the run in `directory` exported: on the CPU, in evaluation mode, frozen, rounded and whitened.

    An evaluation takes gradients from it (`holdfast.evaluation.gradients.EncoderLoader`).

    Raises:
        CheckpointError: the training run does not lie there.
        HoldfastError: its whitening or rounding is damaged.

    """
    return whitening.load(rounding.load(load_encoder(directory), directory), directory)
