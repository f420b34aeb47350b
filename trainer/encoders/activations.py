"""The nonlinearities of the encoders.

Smooth ones give an attack in training a truer gradient, and the encoder a better bargain of clean and robust accuracy
than ReLU (Xie et al. 2020, arXiv 2006.14536).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["relu", "silu", "gelu", "elu", "softplus", "mish", "smoothrelu"]


class SmoothReLU(nn.Module):
    """x - log(a x + 1) / a for x >= 0, else 0; a > 0 is learned, one for each layer (arXiv 2006.14536, equation 5).

    Its slope, 1 - 1 / (a x + 1), rises from 0 at the origin to 1; the larger a, the nearer to ReLU.
    """

    def __init__(self, start: float = 400.0) -> None:
        """Begin with a = `start`, the authors' 400."""
        super().__init__()
        # Learned as its logarithm, so that it stays positive; Adam's steps are then shares of a, not units of it.
        self.log_sharpness = nn.Parameter(torch.tensor(start).log())

    def forward(self, maps: Tensor) -> Tensor:
        """Float [...] -> the same shape, none negative."""
        a = self.log_sharpness.exp()
        positive = torch.relu(maps)
        return positive - torch.log(a * positive + 1) / a


LAYERS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "mish": nn.Mish,
    "smoothrelu": SmoothReLU,
}


def activation_layer(name: Activation) -> nn.Module:
    """A new layer of the nonlinearity."""
    return LAYERS[name]()
