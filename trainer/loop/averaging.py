"""The exponential mean of an encoder's weights over the steps of a stage."""

import copy
from itertools import chain

import torch
from torch import Tensor, nn


class MeanWeights(nn.Module):
    """The mean of an encoder's weights and of BatchNorm's statistics.

    After the first step it is the weights themselves, and then mean <- decay x mean + (1 - decay) x weights.

    It equals torch's AveragedModel (`torch.optim.swa_utils`) to the bit, and has its names in a checkpoint. AveragedModel
    copies its counter to the device at each step, which waits for a GPU; here the counter stays on the host.
    """

    n_averaged: Tensor

    def __init__(self, encoder: nn.Module, decay: float) -> None:
        """Begin with a copy of `encoder`, on its device; `decay` in [0, 1)."""
        super().__init__()
        self.module = copy.deepcopy(encoder)
        self.register_buffer("n_averaged", torch.tensor(0))
        self._decay = decay

    @torch.no_grad()
    def update(self, encoder: nn.Module) -> None:
        """Add the weights of another step to the mean."""
        means, weights = (tuple(chain(each.parameters(), each.buffers())) for each in (self.module, encoder))
        if self.n_averaged == 0:
            torch._foreach_copy_(means, weights)
        else:
            floating = [mean.is_floating_point() for mean in means]
            fractions, values = ([t for t, one in zip(each, floating, strict=True) if one] for each in (means, weights))
            torch._foreach_lerp_(fractions, values, 1 - self._decay)
            for mean, value in ((m, v) for m, v, one in zip(means, weights, floating, strict=True) if not one):
                mean.copy_(mean * self._decay + value * (1 - self._decay))
        self.n_averaged += 1
