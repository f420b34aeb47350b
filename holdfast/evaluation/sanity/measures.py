"""What the sanity checks judge, measured on a victim."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.attacks.planted import planted_adversary
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.search.suite import AfterBatch
from holdfast.attacks.search.worst_case import WorstCase, WorstCaseAttack
from holdfast.attacks.victim import Victim
from holdfast.bundle.threat_model import ThreatModel
from holdfast.console import Progress
from holdfast.intervals import Rate
from holdfast.model.preprocess import Pixels

AT_ONCE = 128
SMALL_BATCH = 7
"""A batch of another size and other images."""


def zero_gradients(
    victim: Victim, images: Pixels, labels: NDArray[np.int64], tau: float, *, between: bool = False, seed: int = 0
) -> Rate:
    """Inputs at which the margin of the surrogate has no gradient, or none that is a number.

    Args:
        victim: what is attacked.
        images: uint8 [N, H, W, 3].
        labels: int64 [N], their true classes.
        tau: temperature of the surrogate.
        between: look between two grey levels, at random, where rounding would be flat; otherwise at the images themselves.
        seed: of where between.

    """
    surrogate = victim.surrogate.at(tau)
    generator = torch.Generator(victim.device).manual_seed(seed)
    zero = 0
    for start in range(0, len(images), AT_ONCE):
        pixels = to_pixels(images[start : start + AT_ONCE], victim.device)
        if between:
            pixels = (pixels + torch.empty_like(pixels).uniform_(-0.4, 0.4, generator=generator) / 255).clamp(0, 1)
        truth = torch.from_numpy(labels[start : start + AT_ONCE]).to(victim.device)
        gradient = _gradient(victim, pixels, partial(surrogate.margin_loss, labels=truth))
        steep = gradient.flatten(1).abs().amax(1)
        zero += int((~(steep > 0) | ~steep.isfinite()).sum())
    return Rate(zero, len(images))


def agreement(victim: Victim, images: Pixels, answers: NDArray[np.int64], tau: float | None = None) -> Rate:
    """How often the surrogate gives the served `answers` int64 [N]; by default at its own temperature."""
    surrogate = victim.surrogate if tau is None else victim.surrogate.at(tau)
    agreeing = 0
    with torch.no_grad():
        for start in range(0, len(images), AT_ONCE):
            z = victim.embed(to_pixels(images[start : start + AT_ONCE], victim.device))
            best = surrogate.log_scores(z).argmax(1).cpu().numpy()
            agreeing += int((best == answers[start : start + AT_ONCE]).sum())
    return Rate(agreeing, len(images))


def standing(
    victim: Victim,
    images: Pixels,
    labels: NDArray[np.int64],
    threat: ThreatModel,
    attack: AdaptiveAttack,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    store: Path | None = None,
    watch: AfterBatch | None = None,
) -> NDArray[np.bool_]:
    """Which images are answered rightly, clean and under `attack`, with nothing carried over: bool [N].

    For `store` and `watch` see `AttackSuite.run`.
    """
    worst_case = WorstCase(victim, images, labels, threat)
    attack.suite.run(worst_case, seed=seed, progress=progress, store=store, watch=watch)
    stands = np.zeros(len(images), dtype=np.bool_)
    stands[worst_case.rows] = True
    return stands


def differing(victim: Victim, images: Pixels) -> Rate:
    """Images whose answer or embedding comes out otherwise when asked again, or whose answer does in another batch."""
    with torch.no_grad():
        pixels = to_pixels(images, victim.device)
        moved = (victim.embed(pixels) != victim.embed(pixels)).any(1).cpu().numpy()
    first, again = victim.answer(images), victim.answer(images)
    apart = [victim.answer(images[start : start + SMALL_BATCH]) for start in range(0, len(images), SMALL_BATCH)]
    otherwise = moved | (first != again) | (first != np.concatenate([*apart, np.zeros(0, np.int64)]))
    return Rate(int(otherwise.sum()), len(images))


def plants_found(
    victim: Victim,
    images: Pixels,
    threat: ThreatModel,
    attack: WorstCaseAttack,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Rate:
    """How many planted adversaries `attack` finds with the victim's own encoder; images without a case do not count."""
    result = planted_adversary(victim.embed, images, threat, attack, seed=seed, device=victim.device, progress=progress)
    return Rate(int(result.found.sum()), result.cases)


def _gradient(victim: Victim, pixels: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    with torch.enable_grad():
        pixels = pixels.requires_grad_()
        values = loss(victim.embed(pixels))
        if not values.requires_grad:
            return torch.zeros_like(pixels)
        gradient: Tensor | None
        (gradient,) = torch.autograd.grad(values.sum(), pixels, allow_unused=True)
    return torch.zeros_like(pixels) if gradient is None else gradient
