"""Randomised smoothing (Cohen, Rosenfeld and Kolter, arXiv 1902.02918): a certificate in pixels, by voting over noise.

The smoothed classifier answers the class that the served one answers most often for x + e, e normal with deviation sigma. Its
class c is guessed from n0 draws. In n fresh draws c comes n_c times, so with probability 1 - alpha the true share of c is at
least

    p = BetaInv(alpha; n_c, n - n_c + 1)                        (Clopper and Pearson 1934)

and where p > 1/2 no change of L2 length below sigma * inverse normal(p) changes the smoothed classifier's answer. Otherwise it
abstains. Noise is added to pixels in [0, 1], and then cut off and rounded to the 256 levels that the encoder takes: that is a
part of the classifier that is smoothed, and takes nothing from the certificate.

It says nothing of the answer without noise, and nothing of L-infinity. An encoder that was not trained with noise abstains.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from holdfast.model.preprocess import Pixels

ALPHA = 0.001
"""The probability with which a certificate may be wrong."""

LEVELS = 255

STEPS = 60
"""Halvings of [0, 1] until a probability is found."""


@dataclass(frozen=True, slots=True)
class SmoothedAnswer:
    """What the smoothed classifier answers.

    Attributes:
        label: the class that was guessed from the first draws.
        hits: of the fresh draws that were answered so.
        draws: fresh ones.
        probability: lower bound of the label's share under noise, in [0, 1].
        radius: L2, in pixels of [0, 1]; 0 where it abstains.
        abstain: the bound is no more than 1/2: nothing is certified.
        sigma: standard deviation of the noise, in pixels of [0, 1].
        alpha: the probability with which the certificate may be wrong.

    """

    label: int
    hits: int
    draws: int
    probability: float
    radius: float
    abstain: bool
    sigma: float
    alpha: float


def noisy_copies(image: Pixels, count: int, sigma: float, rng: np.random.Generator) -> Pixels:
    """The image with normal noise, cut off and rounded: uint8 [H, W, C] -> uint8 [count, H, W, C].

    Args:
        image: as the encoder sees it.
        count: how many.
        sigma: standard deviation, in pixels of [0, 1].
        rng: of the noise. One that an attacker can foretell voids the certificate.

    """
    noise = rng.standard_normal((count, *image.shape), dtype=np.float32)
    noise *= np.float32(sigma * LEVELS)
    noise += image
    np.rint(noise, out=noise)
    return np.clip(noise, 0, LEVELS, out=noise).astype(np.uint8)


def smoothed_answer(
    guesses: NDArray[np.int64], answers: NDArray[np.int64], sigma: float, alpha: float = ALPHA
) -> SmoothedAnswer:
    """Judge the served answers to noisy copies of one image.

    Args:
        guesses: int64 [n0], answers to the first draws, at least one.
        answers: int64 [n], answers to fresh draws, at least one.
        sigma: of the noise, in pixels of [0, 1].
        alpha: the probability with which the certificate may be wrong.

    """
    label = int(np.bincount(guesses).argmax())
    hits, draws = int((answers == label).sum()), len(answers)
    probability = lower_bound(hits, draws, alpha)
    abstain = probability <= 0.5
    radius = 0.0 if abstain else sigma * NormalDist().inv_cdf(probability)
    return SmoothedAnswer(label, hits, draws, probability, radius, abstain, sigma, alpha)


def lower_bound(hits: int, draws: int, alpha: float) -> float:
    """The one-sided lower bound of Clopper and Pearson: the p for which `hits` or more have the probability alpha.

    Args:
        hits: in [0, draws].
        draws: at least 1.
        alpha: in (0, 1).

    """
    if hits == 0:
        return 0.0
    counts = np.arange(hits, draws + 1)
    ways = np.array([math.lgamma(draws + 1) - math.lgamma(m + 1) - math.lgamma(draws - m + 1) for m in counts.tolist()])
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        p = (low + high) / 2
        tail = np.exp(ways + counts * math.log(p) + (draws - counts) * math.log1p(-p)).sum()
        low, high = (p, high) if tail < alpha else (low, p)
    return low
