"""Where an evaluation's gradients come from. Whatever it is, candidates are judged on the answers as served."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from holdfast.errors import HoldfastError
from holdfast.torch_device import device_named

EncoderLoader = Callable[[Path], nn.Module]
"""The directory of a bundle -> the torch encoder of the training run that made it: on the CPU, evaluation mode, frozen."""

BUNDLES_OWN = "gradient.onnx"


@dataclass(frozen=True)
class GradientOptions:
    """The source of gradients."""

    gradients: Literal["onnx", "torch"] = "onnx"
    """The bundle's own gradient.onnx, or the torch encoder of the training run that made it (BUNDLE/checkpoint): for a GPU,
    and quicker on a CPU for large encoders. Either way the answers as served decide."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Of the torch encoder; auto takes a GPU if there is one."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the torch encoder's convolutions. bfloat16 is up to twice as quick where the CPU or GPU multiplies it itself; the
    direction of a gradient suffers little, and the answers as served not at all."""

    def open(self, directory: Path, load_encoder: EncoderLoader | None = None) -> nn.Module | None:
        """The torch encoder of the bundle in `directory`, or None for its graphs.

        Args:
            directory: a bundle.
            load_encoder: reads a training run, which is the trainer's to do.

        Raises:
            CheckpointError: the training run does not lie there.
            HoldfastError: an option that would do nothing, a GPU that is not there, nothing to read a training run with, or
                what the training run left is damaged.

        """
        if self.gradients == "onnx":
            if (self.device, self.precision) != ("auto", "float32"):
                raise HoldfastError("--device and --precision need --gradients torch: gradient.onnx runs on the CPU in float32")
            return None
        if load_encoder is None:
            raise HoldfastError(
                f"this command cannot read training runs; use: holdfast evaluate {directory} --gradients torch, with the same"
                " other options"
            )
        device = device_named(self.device)
        encoder = load_encoder(directory)
        if self.precision == "bfloat16":
            encoder = InBfloat16(encoder)
        return encoder.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    @property
    def description(self) -> str:
        """For the record of what was done."""
        return BUNDLES_OWN if self.gradients == "onnx" else f"torch, {self.device}, {self.precision}"


class InBfloat16(nn.Module):
    """An encoder whose convolutions multiply bfloat16."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """Float [N, 3, H, W] in [0, 1] -> float32 [N, D]."""
        with torch.autocast(pixels.device.type, torch.bfloat16):
            embeddings: Tensor = self.encoder(pixels)
        return embeddings.float()
