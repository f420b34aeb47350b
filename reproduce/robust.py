"""The worst case of a few attacks on a classifier, each on what those before it left standing.

Gradients of cross-entropy, of the margin between the likeliest wrong class and the right one, and of the margins to the three
likeliest wrong classes in turn, from two random starts each. No more than a ladder "in the style of" AutoAttack (Croce and Hein
2020, arXiv 2003.01690): no step size that adapts, no attack without gradients.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.attacks.pgd import pgd
from holdfast.bundle.threat_model import ThreatModel
from holdfast.data import LabelledImages
from holdfast.intervals.paired import Bits
from reproduce.networks import TrainedNetwork, batches

STEPS, RESTARTS, TARGETS = 20, 2, 3

Loss = Callable[[Tensor], Tensor]


def robust_right(network: TrainedNetwork, images: LabelledImages, threat: ThreatModel) -> Bits:
    """Which images the classifier answers rightly, clean and under every attack: bool [N]."""
    parts, start = [], 0
    for number, pixels in enumerate(batches(images.images)):
        truth = torch.from_numpy(images.labels[start : start + len(pixels)])
        parts.append(_standing(network, pixels, truth, threat, torch.Generator().manual_seed(number)))
        start += len(pixels)
    return np.concatenate(parts)


def _standing(network: TrainedNetwork, pixels: Tensor, truth: Tensor, threat: ThreatModel, generator: torch.Generator) -> Bits:
    with torch.no_grad():
        ranked = _wrong_logits(network.logits(pixels), truth).argsort(dim=1, descending=True)
        standing = network.logits(pixels).argmax(1) == truth
    for attack in range(RESTARTS * (2 + TARGETS)):
        left = torch.nonzero(standing).squeeze(1)
        if not len(left):
            break
        loss = list(_losses(network, truth[left], ranked[left]))[attack % (2 + TARGETS)]
        size = 2.5 * threat.epsilon / STEPS
        moved = pgd(loss, pixels[left], threat, steps=STEPS, step_size=size, generator=generator, keep="best")
        with torch.no_grad():
            # As eight bits, which is what is served.
            standing[left] = network.logits((moved * 255).round() / 255).argmax(1) == truth[left]
    found: Bits = standing.numpy()
    return found


def _losses(network: TrainedNetwork, truth: Tensor, ranked: Tensor) -> Iterator[Loss]:
    yield lambda pixels: F.cross_entropy(network.logits(pixels), truth, reduction="none")
    yield partial(_margin, network, truth, None)
    for place in range(TARGETS):
        yield partial(_margin, network, truth, ranked[:, place : place + 1])


def _margin(network: TrainedNetwork, truth: Tensor, target: Tensor | None, pixels: Tensor) -> Tensor:
    logits = network.logits(pixels)
    other = _wrong_logits(logits, truth).amax(1) if target is None else logits.gather(1, target).squeeze(1)
    return other - logits.gather(1, truth[:, None]).squeeze(1)


def _wrong_logits(logits: Tensor, truth: Tensor) -> Tensor:
    return logits.masked_fill(F.one_hot(truth, logits.shape[1]).bool(), -torch.inf)
