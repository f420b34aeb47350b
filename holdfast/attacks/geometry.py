"""The norms an attack may move in: for each, how to start, step and stay inside the ball.

All functions of a geometry take batches [N, ...] of float pixels and know nothing of what is being attacked.
`holdfast.attacks.numpy_pgd` has the same geometries in numpy.
"""

from typing import Protocol

import torch
from torch import Tensor

from holdfast.bundle.threat_model import ThreatModel


class Geometry(Protocol):
    """A ball around the clean images, in pixels of [0, 1]."""

    epsilon: float

    def random_start(self, clean: Tensor, generator: torch.Generator | None) -> Tensor:
        """Points uniform in the ball around `clean` [N, ...], clipped to [0, 1]."""
        ...

    def step(self, pixels: Tensor, gradient: Tensor, size: float) -> Tensor:
        """Steepest ascent: the move of norm `size` that most increases a loss with this `gradient`."""
        ...

    def project(self, pixels: Tensor, clean: Tensor) -> Tensor:
        """The nearest points that lie in the ball around `clean` and in [0, 1]."""
        ...

    def lengths(self, moves: Tensor) -> Tensor:
        """Of moves [N, ...], in this norm: [N]."""
        ...


class Linf:
    """Every pixel may move by epsilon."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def random_start(self, clean: Tensor, generator: torch.Generator | None) -> Tensor:
        """Each pixel uniform in its interval."""
        noise = torch.empty_like(clean).uniform_(-self.epsilon, self.epsilon, generator=generator)
        return (clean + noise).clamp(0, 1)

    def step(self, pixels: Tensor, gradient: Tensor, size: float) -> Tensor:
        """Each pixel by `size`, along the sign of its gradient."""
        return pixels + size * gradient.sign()

    def project(self, pixels: Tensor, clean: Tensor) -> Tensor:
        """Clip each pixel to its interval."""
        return (clean + (pixels - clean).clamp(-self.epsilon, self.epsilon)).clamp(0, 1)

    def lengths(self, moves: Tensor) -> Tensor:
        """The largest move of a pixel."""
        lengths: Tensor = torch.linalg.vector_norm(moves.flatten(1), ord=torch.inf, dim=1)
        return lengths


class L2:
    """The whole image may move by a Euclidean length of epsilon."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def random_start(self, clean: Tensor, generator: torch.Generator | None) -> Tensor:
        """Each image uniform in its ball."""
        direction = torch.empty_like(clean).normal_(generator=generator)
        radius = torch.empty(len(clean), device=clean.device).uniform_(generator=generator)
        # In d dimensions the volume inside radius r grows as r^d, so u^(1/d) makes the points uniform in the ball.
        radius = self.epsilon * radius ** (1 / clean[0].numel())
        return (clean + direction * _per_sample(radius / _divisors(direction), clean)).clamp(0, 1)

    def step(self, pixels: Tensor, gradient: Tensor, size: float) -> Tensor:
        """Each image by the length `size`, along its gradient."""
        return pixels + gradient * _per_sample(size / _divisors(gradient), gradient)

    def project(self, pixels: Tensor, clean: Tensor) -> Tensor:
        """Shorten what is too long, then clip."""
        move = pixels - clean
        shrink = (self.epsilon / _divisors(move)).clamp(max=1)
        # Clipping to [0, 1] moves every pixel toward its clean value, so it cannot leave the ball again.
        return (clean + move * _per_sample(shrink, move)).clamp(0, 1)

    def lengths(self, moves: Tensor) -> Tensor:
        """The Euclidean length."""
        lengths: Tensor = torch.linalg.vector_norm(moves.flatten(1), dim=1)
        return lengths


def geometry_of(threat: ThreatModel) -> Geometry:
    """The geometry in which `threat` allows an attacker to move."""
    match threat.norm:
        case "linf":
            return Linf(threat.epsilon)
        case "l2":
            return L2(threat.epsilon)


def _divisors(batch: Tensor) -> Tensor:
    """Lengths to divide by: never zero, so that what does not move stays where it is."""
    lengths: Tensor = torch.linalg.vector_norm(batch.flatten(1), dim=1)
    return lengths.clamp_min(torch.finfo(batch.dtype).tiny ** 0.5)


def _per_sample(values: Tensor, batch: Tensor) -> Tensor:
    return values.to(batch.dtype).reshape(-1, *(1,) * (batch.dim() - 1))
