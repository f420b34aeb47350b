"""How much each weight of an encoder matters to what it makes of images: memory-aware synapses, no label needed.

MAS (Aljundi et al. 2018, arXiv 1711.09601): a weight is important if a small change of it changes the output f much,

    Omega_k = 1/N sum over batches | d (sum over the batch ||f(x)||^2) / d theta_k |

with the absolute value taken of each batch, as the authors' code has it; the paper takes it of each image, which is a batch of
one. f is the encoder's output as it is: an embedding that is brought to unit length has a constant norm, and every Omega is 0.
"""

import torch
from torch import Tensor

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.base import TrainingSet
from holdfast.trainer.objectives.memory import SharedBuffers


def importance(encoder: ImageEncoder, images: TrainingSet, batch_size: int) -> list[Tensor]:
    """Omega of each parameter of `encoder`, in their order: tensors of their shapes, at least 0.

    In evaluation mode, so that BatchNorm does not make images depend on each other; the mode is left as it was.

    Args:
        encoder: whose output is f; all of its parameters learn.
        images: N of them, at least one.
        batch_size: images of which a derivative is taken at once.

    """
    parameters = list(encoder.parameters())
    found = [torch.zeros_like(parameter) for parameter in parameters]
    was_training = encoder.training
    encoder.eval()
    with torch.enable_grad():
        for chunk in images.chunks(batch_size):
            output = encoder(chunk.pixels()).float()
            slopes = torch.autograd.grad(output.square().sum(), parameters)
            torch._foreach_add_(found, [slope.abs() for slope in slopes])
    encoder.train(was_training)
    return [total / len(images) for total in found]


def of_mean_one(omega: list[Tensor]) -> list[Tensor]:
    """The same importances in units of their mean over all weights, so that what they weigh does not depend on f's scale.

    All zero, as of an encoder that makes the same of every image, they stay zero.
    """
    mean = torch.stack([each.sum() for each in omega]).sum() / sum(each.numel() for each in omega)
    return [each / mean for each in omega] if mean > 0 else omega


class WeightAnchor(SharedBuffers):
    """Where the weights of an encoder were, and how much each of them matters; zeros at first, which hold nothing.

    Part of checkpoints, and carried from stage to stage. Threads share it, as it is large and only the loop changes it.

    Args:
        encoder: whose weights are held.

    """

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        for number, parameter in enumerate(encoder.parameters()):
            self.register_buffer(f"omega_{number}", torch.zeros_like(parameter))
            self.register_buffer(f"weight_{number}", torch.zeros_like(parameter))

    @property
    def omega(self) -> list[Tensor]:
        """How much each of the encoder's parameters matters, in their order."""
        return [buffer for name, buffer in self.named_buffers() if name.startswith("omega_")]

    @property
    def weights(self) -> list[Tensor]:
        """What the encoder's parameters were."""
        return [buffer for name, buffer in self.named_buffers() if name.startswith("weight_")]

    @torch.no_grad()
    def hold(self, encoder: ImageEncoder, omega: list[Tensor]) -> None:
        """Hold the encoder where it is; `omega` is added to what mattered before."""
        torch._foreach_add_(self.omega, omega)
        torch._foreach_copy_(self.weights, list(encoder.parameters()))

    def pull(self, encoder: ImageEncoder) -> Tensor:
        """sum_k Omega_k (theta_k - theta*_k)^2, a scalar with a gradient to the encoder's weights."""
        pairs = zip(self.omega, self.weights, encoder.parameters(), strict=True)
        return torch.stack([(omega * (now - before).square()).sum() for omega, before, now in pairs]).sum()
