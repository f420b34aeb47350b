"""BatchNorm's running statistics, estimated anew on images of one's choice."""

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.base import TrainingSet

AT_ONCE = 256

MOST = 64 * AT_ONCE
"""Images that are looked at: a mean over so many changes with more of them in its third digit."""


@torch.no_grad()
def estimate_batchnorm(encoder: ImageEncoder, images: TrainingSet, seed: int) -> None:
    """Set BatchNorm's running statistics to those of `images`, at least two, in batches in an order drawn by `seed`.

    As they stand they follow the latest batches of the training: after a chunk of a stream they are of that chunk alone. What
    is computed is what `torch.optim.swa_utils.update_bn` computes. Of more images than MOST the first so many in that order
    are looked at.
    """
    norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    was_training = encoder.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:MOST].to(images.order_device)
    encoder.train()
    for batch in images.batches(order.tensor_split(-(-len(order) // AT_ONCE))):
        encoder(batch.pixels())
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.train(was_training)
