"""What an attack is, for a probe: a search that asks the served encoder, one candidate at a time."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.encoder.onnx import OnnxGradient
from holdfast.model.surrogate import Surrogate

Search = Generator[NDArray[np.uint8], NDArray[np.float32], None]
"""Yields candidates uint8 [H, W, C] inside the ball; is sent, for each, its embedding float32 [D] as served.

The search never judges itself: the prober asks the served classifier about every candidate and stops at the first flip.
Between two candidates the prober waits for budget and for an idle server, so each stretch of work is short.
"""


@dataclass(frozen=True)
class ProbeTarget:
    """One answered request, and what an attacker with the whole bundle knows about it.

    image: uint8 [H, W, C], as the encoder saw it. label: the served answer. radius: L-infinity radius in grey levels. steps: of
    an attack by gradients. queries: of one without.
    """

    image: NDArray[np.uint8]
    label: int
    radius: int
    steps: int
    queries: int
    surrogate: Surrogate
    gradient: OnnxGradient

    @property
    def threat(self) -> ThreatModel:
        """The ball, in pixels of [0, 1]."""
        return ThreatModel("linf", self.radius / 255)


ProbeAttack = Callable[[ProbeTarget, np.random.Generator], Search]


def radius_in_levels(epsilon: float) -> int:
    """The largest whole number of grey levels within epsilon (pixels in [0, 1]): .0314 (8/255) -> 8.

    It reads what an operator typed, and forgives decimals that were cut off: .03137 is 8 levels too.
    """
    return int(np.floor(epsilon * 255 + 1e-3))
