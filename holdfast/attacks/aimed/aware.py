"""A loss that knows of a detector: fool the vote and keep the detector silent."""

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.attacks.detectors import Detector
from holdfast.attacks.losses import Loss
from holdfast.attacks.victim import Victim


@dataclass(frozen=True)
class DetectorAware:
    """The margin, less `weight` times the detector's penalty.

    The margin is in nats and moves by several; most penalties lie within [-1, 1].

    Attributes:
        detector: that is to stay silent.
        tau: temperature of the margin, on the whole-bank soft kNN.
        weight: of the penalty; none knows which is the best, so several are tried.

    """

    detector: Detector
    tau: float
    weight: float

    def __str__(self) -> str:
        return f"margin tau {self.tau:g} less {self.weight:g} {self.detector.name}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """Max over c != y of L_c, less L_y, less weight x penalty(z, that c)."""
        surrogate = victim.surrogate.at(self.tau)

        def loss(attacked: Tensor) -> Tensor:
            z = victim.embed(attacked)
            scores = surrogate.log_scores(z)
            strongest, wanted = scores.scatter(1, labels[:, None], -torch.inf).max(1)
            return strongest - scores.gather(1, labels[:, None])[:, 0] - self.weight * self.detector.penalty(z, wanted)

        return loss
