"""PGD-kNN, the attack of SSAT (Chen et al., arXiv 1911.06470): walk an image's embedding into a crowd of another class.

The guides of an image are the nearest exemplar of another class and that exemplar's m - 1 nearest of its own class;
the attack minimises the sum of squared distances to them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.attacks.pgd import pgd
from holdfast.bundle.threat_model import ThreatModel


@dataclass(frozen=True)
class Guides:
    """For N images, what the sum of squared distances to their guides depends on.

    sum_j |z - g_j|^2 = m |z - mean_j g_j|^2 + sum_j |g_j - mean_j g_j|^2, so the guides' mean, number and scatter say
    all, and [N, D] stands in for [N, m, D].
    """

    mean: Tensor
    number: Tensor
    scatter: Tensor

    def squared_distances(self, z: Tensor) -> Tensor:
        """Sum over the guides of the squared distance. Shape: z [N, D] -> [N]."""
        return self.number * (z - self.mean).square().sum(1) + self.scatter


class GuideBank:
    """Labelled embeddings among which guides are chosen."""

    def __init__(self, embeddings: Tensor, labels: Tensor) -> None:
        """Keep float [M, D] L2-normalised embeddings and their labels, integers [M]."""
        if embeddings.dim() != 2 or labels.shape != embeddings.shape[:1]:
            raise ValueError(f"{tuple(embeddings.shape)} embeddings and {tuple(labels.shape)} labels do not match")
        self.embeddings = embeddings.detach().float()
        self.labels = labels

    def choose(self, z: Tensor, labels: Tensor, *, number: int = 300) -> Guides:
        """The guides of embeddings `z` [N, D] whose true classes are `labels` [N]; fewer where a class is smaller.

        Raises:
            ValueError: where the bank holds no exemplar of another class.

        """
        own = labels[:, None] == self.labels[None, :]
        if bool(own.all(1).any()):
            raise ValueError("the bank holds no exemplar of another class: there is nobody to be guided to")
        with torch.no_grad():
            leaders = (z.float() @ self.embeddings.T).masked_fill(own, -torch.inf).argmax(1)
            others = self.labels[leaders][:, None] != self.labels[None, :]
            near = (self.embeddings[leaders] @ self.embeddings.T).masked_fill(others, -torch.inf)
            similarities, rows = near.topk(min(number, len(self.labels)), dim=1)
            members = similarities.isfinite()
            guides = self.embeddings[rows] * members[:, :, None]
            count = members.sum(1).float()
            mean = guides.sum(1) / count[:, None]
            scatter = guides.square().sum((1, 2)) - count * mean.square().sum(1)
        return Guides(mean, count, scatter)


def guided_adversary(
    encoder_fn: Callable[[Tensor], Tensor],
    pixels: Tensor,
    labels: Tensor,
    bank: GuideBank,
    threat: ThreatModel,
    *,
    steps: int,
    step_size: float,
    number: int = 300,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images within `threat` of `pixels` whose embeddings lie among exemplars of another class.

    Args:
        encoder_fn: pixels [N, 3, H, W] -> L2-normalised embeddings [N, D], differentiable, BatchNorm held still.
        pixels: float [N, 3, H, W] in [0, 1].
        labels: true classes, integers [N].
        bank: where the guides come from; they are chosen once, at the clean images.
        threat: the norm and the epsilon, in pixels of [0, 1].
        steps: how many gradients are taken (SSAT: 10 in training, 20 in evaluation).
        step_size: length of each step, in pixels of [0, 1] (SSAT: .005, most probably in normalised units).
        number: m, how many guides (SSAT: 300).
        generator: source of the random start.

    Returns:
        Float [N, 3, H, W] in [0, 1], detached.

    """
    with torch.no_grad():
        guides = bank.choose(encoder_fn(pixels), labels, number=number)

    def nearness(attacked: Tensor) -> Tensor:
        return -guides.squared_distances(encoder_fn(attacked))

    return pgd(nearness, pixels, threat, steps=steps, step_size=step_size, generator=generator)
