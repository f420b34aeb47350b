"""The exponential mean of an encoder's weights over the steps of a stage."""

import copy
from itertools import chain

import torch
from torch import Tensor, nn


class MeanWeights(nn.Module):
    """The mean of an encoder's weights and of BatchNorm's statistics.

    At the first step it is they themselves, and then mean <- decay x mean + (1 - decay) x theirs.

    It is torch's AveragedModel (`torch.optim.swa_utils`) to the bit, and has its names in a checkpoint. That one copies its
    counter to the device at each step, and a GPU is waited for meanwhile; here the counter stays with the host.
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
        """Take another step's weights into the mean."""
        means, theirs = (tuple(chain(each.parameters(), each.buffers())) for each in (self.module, encoder))
        if self.n_averaged == 0:
            torch._foreach_copy_(means, theirs)
        else:
            broken = [mean.is_floating_point() for mean in means]
            fractions, values = ([t for t, is_one in zip(each, broken, strict=True) if is_one] for each in (means, theirs))
            torch._foreach_lerp_(fractions, values, 1 - self._decay)
            for mean, value in ((m, v) for m, v, is_one in zip(means, theirs, broken, strict=True) if not is_one):
                mean.copy_(mean * self._decay + value * (1 - self._decay))
        self.n_averaged += 1
