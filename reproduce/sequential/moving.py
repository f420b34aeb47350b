"""How flat the minimum is that an encoder lies in: how far its accuracy falls where its weights are moved at random.

The weights theta move to theta + r d. The direction d has for each filter, that is each row of a weight of a convolution or of
a linear map, Gaussian numbers brought to the filter's own length (Li et al. 2018, arXiv 1712.09913): without that a network
whose filters are longer, and which BatchNorm makes the same, would look flatter. Biases and BatchNorm's own weights stay; its
statistics are estimated anew, as they would be of those weights.

The losses of encoders with and without labels have no common scale, so what falls is the accuracy of a kNN, whose exemplars are
embedded by the same moved encoder. That is a measure of this repository; the paper reports the sharpness of the loss.
"""

import copy

import torch
from torch import Tensor

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives import ImageBatch
from holdfast.trainer.objectives.statistics import estimate_batchnorm

DIRECTIONS = 5
"""Along which the weights are moved, at each radius."""


def moved(encoder: ImageEncoder, radius: float, seed: int, images: ImageBatch) -> ImageEncoder:
    """A copy of the encoder, its weights moved by `radius` along the direction of `seed`, in evaluation mode.

    Args:
        encoder: stays as it is.
        radius: r, as a share of the length of each filter; at 0 only BatchNorm's statistics are estimated.
        seed: of the direction.
        images: those that BatchNorm's statistics are of, at least two.

    """
    copied = copy.deepcopy(encoder)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copied.parameters():
            if weight.ndim > 1:
                weight.add_(radius * direction_of(weight, generator))
    estimate_batchnorm(copied, images, seed=0)
    return copied.eval()


def direction_of(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Random numbers of the weight's shape [n, ...], each of the n rows as long as the weight's."""
    drawn = torch.randn(weight.shape, generator=generator)
    inner = tuple(range(1, weight.ndim))
    lengths = weight.square().sum(inner, keepdim=True).sqrt()
    return drawn * lengths / drawn.square().sum(inner, keepdim=True).sqrt().clamp_min(torch.finfo(drawn.dtype).tiny)
