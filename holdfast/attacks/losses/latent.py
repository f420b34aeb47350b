"""The attack that needs no labels: push an image's embedding away from where it was."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.attacks.pgd import frozen, pgd
from holdfast.bundle.threat_model import ThreatModel


def latent_adversary(
    encoder: nn.Module,
    pixels: Tensor,
    threat: ThreatModel,
    *,
    steps: int,
    step_size: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images within `threat` of `pixels` whose embeddings point elsewhere: PGD that maximises -cos(z(x'), z(x)).

    Args:
        encoder: pixels [N, 3, H, W] -> embeddings [N, D]; held in evaluation mode meanwhile.
        pixels: float [N, 3, H, W] in [0, 1].
        threat: the norm and the epsilon, in pixels of [0, 1].
        steps: how many gradients are taken.
        step_size: length of each step, in pixels of [0, 1].
        generator: source of the random start, which is always taken: at x' = x the gradient of the cosine is zero.

    Returns:
        Float [N, 3, H, W], detached.

    """
    with frozen(encoder):
        with torch.no_grad():
            home = F.normalize(encoder(pixels).float(), dim=1)

        def distance(attacked: Tensor) -> Tensor:
            return -(F.normalize(encoder(attacked).float(), dim=1) * home).sum(1)

        return pgd(distance, pixels, threat, steps=steps, step_size=step_size, generator=generator)
