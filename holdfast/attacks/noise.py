"""Random noise of the same size: what an attack must beat by far to be called one."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.victim import Outcome, Victim, WorstCase
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import Pixels


def noisy(pixels: Tensor, threat: ThreatModel, generator: torch.Generator | None = None) -> Tensor:
    """Points uniform in the ball of `threat` around `pixels` [N, 3, H, W], clipped to [0, 1]."""
    return geometry_of(threat).random_start(pixels, generator)


@dataclass(frozen=True)
class NoiseAttack:
    """Uniform noise in the ball, the per-sample worst case of several draws.

    Attributes:
        draws: how many noisy copies of each image are judged.
        batch_size: images judged at once.

    """

    draws: int = 1
    batch_size: int = 256

    def __str__(self) -> str:
        return f"{self.draws} uniform noise"

    def __call__(
        self,
        victim: Victim,
        images: Pixels,
        labels: NDArray[np.int64],
        threat: ThreatModel,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Outcome:
        """Judge noisy copies of uint8 [N, H, W, 3] images whose true classes are int64 [N] labels."""
        generator = torch.Generator(victim.device).manual_seed(seed)
        worst_case = WorstCase(victim, images, labels, threat)

        def propose(pixels: Tensor, _: Tensor) -> Tensor:
            return noisy(pixels, threat, generator)

        bar = progress or Progress(disable=True)
        for _ in bar.track(range(self.draws), description=f"noise {threat}"):
            for _ in worst_case.attempt("noise", propose, batch_size=self.batch_size):
                pass
        return worst_case.outcome()
