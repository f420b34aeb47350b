"""The terms of UGAN's losses, as functions of logits and features. Every mean is over its batch.

For K class logits l, LSE = logsumexp(l) is the implicit score of being real (Salimans et al. 2016, arXiv 1606.03498): the
probability of a further class "generated", whose logit is held at 0, is 1 - sigmoid(LSE).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

PullAway = Literal["squared", "mean"]


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of softmax(l), in nats: [N, K] -> a scalar."""
    return -(F.softmax(logits, dim=1) * F.log_softmax(logits, dim=1)).sum(1).mean()


def imbalance(logits: Tensor) -> Tensor:
    """Cross-entropy of the uniform distribution with the mean of softmax(l): [N, K] -> a scalar, log K at the least."""
    return -F.softmax(logits, dim=1).mean(0).clamp_min(torch.finfo(torch.float32).tiny).log().mean()


def real(logits: Tensor) -> Tensor:
    """Mean of softplus(LSE) - LSE, by which images are told to be real: [N, K] -> a scalar."""
    return F.softplus(-logits.logsumexp(1)).mean()


def generated(logits: Tensor) -> Tensor:
    """Mean of softplus(LSE), by which images are told to be generated: [N, K] -> a scalar."""
    return F.softplus(logits.logsumexp(1)).mean()


def believed(scores: Tensor) -> Tensor:
    """Mean binary cross-entropy of a discriminator's logits [N] with 1: what makes it, or whom it judges, say "real"."""
    return F.softplus(-scores).mean()


def doubted(scores: Tensor) -> Tensor:
    """Mean binary cross-entropy of a discriminator's logits [N] with 0."""
    return F.softplus(scores).mean()


def fooling(logits: Tensor, scores: Tensor) -> Tensor:
    """Mean of max_j p_j * BCE(D -> 1): a classifier is less sure of what a discriminator does not believe.

    Args:
        logits: [N, K].
        scores: [N], the discriminator's of each image with its likeliest class; nothing is learned through them.

    """
    return (F.softmax(logits, dim=1).amax(1) * F.softplus(-scores.detach())).mean()


def inconsistency(one: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference of the logits of two draws of the same images: [N, K], [N, K] -> a scalar.

    What is learned goes through both (Laine and Aila 2017, arXiv 1610.02242).
    """
    return (one - other).square().mean()


def feature_matching(made: Tensor, seen: Tensor) -> Tensor:
    """Mean over features of |mean of the generated - mean of the real|: [N, D], [M, D] -> a scalar."""
    return (made.mean(0) - seen.mean(0)).abs().mean()


def pull_away(features: Tensor, form: PullAway) -> Tensor:
    """How alike the features of generated images are: [N, D] -> a scalar.

    "squared" is the mean of squared cosines of different images (Zhao et al. 2016, arXiv 1609.03126), as in Bad GAN: in
    [0, 1]. "mean" is that of all cosines, the images with themselves included, as in UGAN's code: in [0, 1] as well, and 0
    already where images lie opposite to each other.
    """
    directions = F.normalize(features, dim=1)
    cosines = directions @ directions.T
    if form == "mean":
        return cosines.mean()
    n = len(cosines)
    return (cosines.square().sum() - cosines.diagonal().square().sum()) / (n * (n - 1))
