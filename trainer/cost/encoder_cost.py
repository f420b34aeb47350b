"""What an encoder costs, counted before anything is trained."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast.trainer.encoders import ImageEncoder


@dataclass(frozen=True)
class EncoderCost:
    """Size of an encoder and price of one image."""

    parameters: int
    """Numbers that it is made of; those that are not learned are among them."""

    macs: int
    """Multiply-accumulates of convolutions and linear layers for one image."""

    def __str__(self) -> str:
        return f"{self.parameters / 1e6:.2f} M parameters, {self.macs / 1e6:.1f} MMAC an image"


def encoder_cost(encoder: ImageEncoder) -> EncoderCost:
    """Count parameters, and multiply-accumulates by passing one black image through."""
    macs = 0

    def count(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.Conv2d | nn.Linear):
            macs += output.numel() * layer.weight[0].numel()

    handles = [layer.register_forward_hook(count) for layer in encoder.modules()]
    mode = encoder.training
    try:
        device = next(encoder.parameters()).device
        with torch.no_grad():
            encoder.eval()(torch.zeros(1, 3, *encoder.size, device=device))
    finally:
        encoder.train(mode)
        for handle in handles:
            handle.remove()
    return EncoderCost(sum(parameter.numel() for parameter in encoder.parameters()), macs)
