"""Random noise of the same size: what an attack must beat by far to be called one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.attacks.attack import Attack, AttackBatch, AttackKind
from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.search.worst_case import WorstCase, WorstCaseAttack
from holdfast.bundle.threat_model import ThreatModel
from holdfast.console import Progress


def noisy(pixels: Tensor, threat: ThreatModel, generator: torch.Generator | None = None) -> Tensor:
    """Points uniform in the ball of `threat` around `pixels` [N, 3, H, W], clipped to [0, 1]."""
    return geometry_of(threat).random_start(pixels, generator)


@dataclass(frozen=True)
class Noise(Attack):
    """One point uniform in the ball: what an attack without any knowledge comes to."""

    kind = AttackKind.RANDOM

    def __str__(self) -> str:
        return "uniform noise"

    def run(self, batch: AttackBatch) -> Tensor:
        """A draw for each image."""
        return noisy(batch.pixels, batch.threat, batch.generator)


@dataclass(frozen=True)
class NoiseAttack(WorstCaseAttack):
    """The worst of several draws of uniform noise for each image.

    Attributes:
        draws: how many noisy copies of each image are judged.
        batch_size: images judged at once.

    """

    draws: int = 1
    batch_size: int = 256

    def __str__(self) -> str:
        return f"{self.draws} uniform noise"

    def run(self, worst_case: WorstCase, *, seed: int = 0, progress: Progress | None = None) -> None:
        """Judge noisy copies of the survivors, all of them drawn from one generator."""
        generator = torch.Generator(worst_case.victim.device).manual_seed(seed)

        def propose(pixels: Tensor, _: Tensor) -> Tensor:
            return noisy(pixels, worst_case.threat, generator)

        bar = progress or Progress(disable=True)
        for _ in bar.track(range(self.draws), description=f"noise {worst_case.threat}"):
            for _ in worst_case.attempt("noise", propose, batch_size=self.batch_size):
                pass
