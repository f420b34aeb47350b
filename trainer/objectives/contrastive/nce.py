"""AMDIM's noise-contrastive estimate of mutual information (Bachman et al. 2019, arXiv 1906.00910, section 3).

For N images with source vectors u_i and target maps v_j,l of length D, scores are s_ijl = <u_i, v_j,l> / sqrt(D),
squashed to c tanh(s / c). The positives of source i are the locations of its own map; its negatives are all locations
of all other maps:

    loss = mean over i, l of  -log( e^{s_iil} / (e^{s_iil} + sum over j != i and all m of e^{s_ijm}) )

Pure functions of float32 tensors: mixed precision ends where they begin, a bfloat16 score near 20 would be off by .06.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CLIP = 20.0
REGULARISER = 5e-2


def nce(sources: Tensor, targets: Tensor, *, clip: float = CLIP) -> tuple[Tensor, Tensor]:
    """Predict each image's map from its vector, against the maps of the others.

    Args:
        sources: float32 [N, D], N at least 2.
        targets: float32 [N, D, L], row i the positives of source i.
        clip: scores are squashed to within +-clip.

    Returns:
        The loss, and the mean of the squared scores before squashing (its weight is `REGULARISER`); both scalars.

    """
    n, d, locations = targets.shape
    with torch.autocast(sources.device.type, enabled=False):
        scores = (sources @ targets.transpose(0, 1).reshape(d, n * locations)).reshape(n, n, locations) / d**0.5
    clipped = clip * torch.tanh(scores / clip)
    own = torch.eye(n, dtype=torch.bool, device=scores.device)
    positives = clipped[own]
    negatives = clipped.masked_fill(own[:, :, None], -torch.inf).flatten(1).logsumexp(1, keepdim=True)
    # -log(e^p / (e^p + e^n)) = softplus(n - p)
    return F.softplus(negatives - positives).mean(), scores.square().mean()


def multiscale_nce(first: dict[int, Tensor], second: dict[int, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Sum of the pairs 1 -> 5, 1 -> 7 and 5 -> 5 between two views, both ways and halved.

    Args:
        first: maps {1: [N, D, 1, 1], 5: [N, D, h, w], 7: [N, D, h', w']} of one view of N images.
        second: the same of another view of the same images, in the same order.
        generator: draws the one source location of each image in 5 -> 5.

    Returns:
        The terms "1to5", "1to7", "5to5", and "scores", the mean squares that `REGULARISER` weighs.

    """
    total = {name: torch.zeros((), device=first[1].device) for name in ("1to5", "1to7", "5to5", "scores")}
    for one, other in ((first, second), (second, first)):
        top = one[1].float().flatten(1)
        pairs = {"1to5": (top, 5), "1to7": (top, 7), "5to5": (one_location(one[5].float(), generator), 5)}
        for name, (sources, level) in pairs.items():
            loss, squares = nce(sources, other[level].float().flatten(2))
            total[name] = total[name] + loss / 2
            total["scores"] = total["scores"] + squares / 2
    return total


def one_location(maps: Tensor, generator: torch.Generator) -> Tensor:
    """The vector at one random location of each map: [N, D, h, w] -> [N, D]."""
    flat = maps.flatten(2)
    where = torch.randint(flat.shape[2], (len(flat),), generator=generator, device=flat.device)
    return flat[torch.arange(len(flat), device=flat.device), :, where]
