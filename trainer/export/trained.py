"""The encoder of a finished run as it was exported: with the rounding and the whitening that were asked for."""

from pathlib import Path

from torch import nn

from holdfast.trainer.export import rounding, whitening
from holdfast.trainer.state.checkpoint import load_encoder


def load_trained(directory: Path) -> nn.Module:
    """The encoder that the graphs of the bundle in `directory` were traced from.

    Args:
        directory: of the run, with its checkpoint.

    Returns:
        Float [N, 3, H, W] in [0, 1] -> float [N, D], not yet of unit length; on the CPU, in evaluation mode, frozen.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
        HoldfastError: the notes of the export beside it are damaged.

    """
    return whitening.load(rounding.load(load_encoder(directory), directory), directory)
