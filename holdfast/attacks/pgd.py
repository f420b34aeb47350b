"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083): the one loop every attack here goes through.

What is maximised comes in as a closure, where the attacker may move as a threat model; neither knows of the other.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from holdfast.attacks.geometry import geometry_of
from holdfast.bundle.threat_model import ThreatModel


def pgd(
    loss: Callable[[Tensor], Tensor],
    pixels: Tensor,
    threat: ThreatModel,
    *,
    steps: int,
    step_size: float,
    random_start: bool = True,
    start: Tensor | None = None,
    generator: torch.Generator | None = None,
    keep: Literal["last", "best"] = "last",
) -> Tensor:
    """The images within `threat` of `pixels` at which `loss` is large.

    Args:
        loss: pixels [N, C, H, W] -> one value per image [N]; it is maximised. It must not mix the images of a batch
            (BatchNorm in evaluation mode: see `frozen`).
        pixels: float [N, C, H, W] in [0, 1], the clean images.
        threat: the norm and the epsilon, in pixels of [0, 1].
        steps: how many gradients are taken.
        step_size: length of each step, in pixels of [0, 1] and in the norm of `threat`.
        random_start: begin uniformly in the ball; without it, at the clean image.
        start: float [N, C, H, W], where to begin instead; what lies outside the ball is brought to its nearest point in it.
        generator: source of the random start, on the device of `pixels`.
        keep: "last" returns the last iterate; "best" costs one forward pass more and returns for each image the
            iterate of the largest loss, the starting point included.

    Returns:
        Float [N, C, H, W] in [0, 1], inside the ball, detached.

    """
    geometry = geometry_of(threat)
    clean = pixels.detach()
    if len(clean) == 0:
        return clean.clone()
    if start is not None:
        current = geometry.project(start.detach(), clean)
    else:
        current = geometry.random_start(clean, generator) if random_start else clean.clone()
    best, best_loss = current, torch.full((len(clean),), -torch.inf, device=clean.device)
    for _ in range(steps):
        with torch.enable_grad():
            current.requires_grad_()
            values = loss(current)
            (gradient,) = torch.autograd.grad(values.sum(), current)
        current = current.detach()
        if keep == "best":
            best, best_loss = _better(best, best_loss, current, values)
        current = geometry.project(geometry.step(current, gradient, step_size), clean)
    if keep == "last":
        return current
    with torch.no_grad():
        best, _ = _better(best, best_loss, current, loss(current))
    return best


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Hold `modules` still while they are attacked: BatchNorm in evaluation mode, no gradients for parameters.

    In training mode BatchNorm would let the images of a batch attack each other, and would learn the statistics of
    unfinished adversarial examples.
    """
    inner = [module for outer in modules for module in outer.modules()]
    parameters = [parameter for outer in modules for parameter in outer.parameters()]
    modes = [module.training for module in inner]
    learning = [parameter.requires_grad for parameter in parameters]
    for outer in modules:
        outer.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in zip(inner, modes, strict=True):
            module.training = mode
        for parameter, flag in zip(parameters, learning, strict=True):
            parameter.requires_grad_(flag)


def _better(best: Tensor, best_loss: Tensor, current: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    values = values.detach().float()
    wins = values > best_loss
    chosen = torch.where(wins.reshape(-1, *(1,) * (current.dim() - 1)), current, best)
    return chosen, torch.where(wins, values, best_loss)
