"""The exponential mean of an encoder's weights over the steps of a stage, and BatchNorm's statistics for it."""

import copy
from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives import ImageBatch, Objective

FEWEST, MOST = 8, 50
"""Batches that statistics are estimated on."""


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


def batches_for(steps: int) -> int:
    """On how many batches the statistics are estimated after so many steps: one for ten, within bounds."""
    return min(max(steps // 10, FEWEST), MOST)


def estimate_statistics(
    encoder: ImageEncoder, objective: Objective, batches: Iterable[tuple[ImageBatch, torch.Generator]]
) -> None:
    """Set BatchNorm's running statistics in `encoder` to what it makes of training batches.

    The mean of weights has other statistics than the mean of those that the weights had one after the other (Izmailov et al.
    2018, arXiv 1803.05407); in a short stage the latter may be far off. As `torch.optim.swa_utils.update_bn`, but for views:
    the objective draws them and attacks them as in a step, since under attack statistics are of attacked images, too. Nothing
    is learned, and what the objective remembers stays as it is.

    Args:
        encoder: the mean, with the statistics that it has.
        objective: of the stage, as its last step left it.
        batches: with what each one's random numbers are drawn by.

    """
    # Copies are not compiled: a compiled step would take the count of batches, which changes, for a constant.
    mean, twin = copy.deepcopy(encoder).train(), copy.deepcopy(objective).train()
    norms = [module for module in mean.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        # The first batch takes the place of what is there, by which it is still attacked; then the plain mean of all.
        norm.momentum = None
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.zero_()
    for batch, generator in batches if norms else ():
        twin.terms(mean, batch, generator)
    encoder.load_state_dict(mean.state_dict())
