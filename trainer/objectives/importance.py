"""How much each weight of an encoder matters to what it makes of images: memory-aware synapses, no label needed.

MAS (Aljundi et al. 2018, arXiv 1711.09601): a weight is important if a small change of it changes the output f much,

    Omega_k = 1/N sum over batches | d (sum over the batch ||f(x)||^2) / d theta_k |

with the absolute value taken of each batch, as the authors' code has it; the paper takes it of each image, which is a batch of
one. f is the encoder's output as it is: of an embedding brought to unit length the norm is constant, and every Omega would be 0.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.base import ImageBatch

STATISTICS_BATCH = 256
"""Images at once whose statistics BatchNorm averages."""


def importance(encoder: ImageEncoder, images: ImageBatch, batch_size: int) -> list[Tensor]:
    """Omega of each parameter of `encoder`, in their order: tensors of their shapes, at least 0.

    In evaluation mode, so that BatchNorm does not make images depend on each other; the mode is left as it was.

    Args:
        encoder: whose output is f; all of its parameters learn.
        images: N of them, at least one.
        batch_size: images of which a derivative is taken at once.

    """
    parameters = list(encoder.parameters())
    found = [torch.zeros_like(parameter) for parameter in parameters]
    with _evaluating(encoder), torch.enable_grad():
        for chunk in images.chunks(batch_size):
            output = encoder(chunk.pixels()).float()
            for total, slope in zip(found, torch.autograd.grad(output.square().sum(), parameters), strict=True):
                total += slope.abs()
    return [total / len(images) for total in found]


def of_mean_one(omega: list[Tensor]) -> list[Tensor]:
    """The same importances in units of their mean over all weights, so that what they weigh does not depend on f's scale.

    All zero, as of an encoder that makes the same of every image, they stay zero.
    """
    total = torch.stack([each.sum() for each in omega]).sum()
    mean = total / sum(each.numel() for each in omega)
    return [each / mean for each in omega] if total > 0 else omega


@torch.no_grad()
def estimate_batchnorm(encoder: ImageEncoder, images: ImageBatch, seed: int) -> None:
    """Set BatchNorm's running statistics to those of `images`, at least two, in batches in an order drawn by `seed`.

    The running means follow the latest images, so after a chunk they are of the chunk; where older images are seen again they
    should count as well.
    """
    norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    was_training = encoder.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).to(images.labels.device)
    encoder.train()
    for rows in order.tensor_split(max(1, len(images) // STATISTICS_BATCH)):
        encoder(images.at(rows).pixels())
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.train(was_training)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
