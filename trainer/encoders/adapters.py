"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685): a layer's weights W stay, and B A of a small rank is learned.

    W' = W + B A,      A float [r, inputs], B float [outputs, r], B = 0 at first

Of a convolution the inputs are those of a window. The sum is made of weights, before the layer computes, so nothing more is
kept of a batch. The library `peft` can be put into the same modules. It is not used, as it brings transformers, accelerate and
the client of a hub with it, and runs a second and a third layer beside each, whose activations are kept.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from holdfast.importing.errors import EncoderImportError


class LowRank(nn.Module):
    """Weights and a matrix of a small rank on top.

    Args:
        weight: float [outputs, ...], of the layer.
        rank: of the matrix; at most what the weights' own could be.

    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = len(weight), weight[0].numel()
        rank = min(rank, outputs, inputs)
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The sum, of the same shape."""
        # In float32 also within mixed precision: what is added is small.
        with torch.autocast(weight.device.type, enabled=False):
            return weight + (self.up @ self.down).reshape(weight.shape)


def add_adapters(graph: nn.Module, learning: Collection[str], rank: int) -> None:
    """Put adapters on those convolutions and linear layers whose weights are among `learning`, by the global random state.

    Raises:
        EncoderImportError: there is no such layer.

    """
    layers = [
        layer
        for name, layer in graph.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and f"{name}.weight" in learning
    ]
    if not layers:
        raise EncoderImportError(
            "none of the layers that are to be trained is a convolution or a linear one, so none has adapters"
        )
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))


def merge_adapters(module: nn.Module) -> None:
    """Make each adapted layer one with weights of its own."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear) and parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
