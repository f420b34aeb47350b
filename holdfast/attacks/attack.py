"""What a ladder is made of: one attack that proposes one candidate per image."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor

from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.losses import AttackLoss
from holdfast.attacks.pgd import pgd
from holdfast.attacks.victim import Victim
from holdfast.bundle.threat_model import ThreatModel


class Kind(StrEnum):
    """What an attack knows. White-box attacks must come first and find nearly all: what the others add is an alarm."""

    WHITE_BOX = "white box"
    """Gradients of the encoder, and the bank."""

    TRANSFER = "transfer"
    """Gradients of something else than what is attacked."""

    BLACK_BOX = "black box"
    """Answers alone."""

    RANDOM = "random"
    """Nothing."""


class Step(Protocol):
    """One attack of a ladder. `str` of it names it in reports."""

    @property
    def kind(self) -> Kind:
        """What it knows."""
        ...

    def __call__(
        self, victim: Victim, pixels: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> Tensor:
        """Propose one candidate per image.

        Args:
            victim: what is attacked, and all that is known of it.
            pixels: float [n, 3, H, W] in [0, 1], the clean images, on the device of `victim`.
            labels: int64 [n], their true classes.
            threat: where each may move.
            generator: source of all randomness: the same state, the same candidates.

        Returns:
            Float [n, 3, H, W] in [0, 1], inside the ball: for each image the strongest candidate, whether the attack
            itself believes in it or not. The served answer decides.

        """
        ...


@dataclass(frozen=True)
class PGDAttack:
    """Projected gradient descent on one rung.

    The step size is 2.5 epsilon / steps, so that every point of the ball can be reached and left again (Madry et al.
    2018); with one step it is epsilon (Goodfellow et al. 2015).
    """

    rung: AttackLoss
    steps: int = 40
    kind: Kind = Kind.WHITE_BOX

    def __str__(self) -> str:
        return str(self.rung)

    def __call__(
        self, victim: Victim, pixels: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> Tensor:
        """The iterate of the largest loss."""
        return pgd(
            self.rung(victim, pixels, labels),
            pixels,
            threat,
            steps=self.steps,
            step_size=threat.epsilon * min(1, 2.5 / self.steps),
            generator=generator,
            keep="best",
        )


@dataclass(frozen=True)
class Noise:
    """One point uniform in the ball: what an attack without any knowledge comes to."""

    kind: Kind = Kind.RANDOM

    def __str__(self) -> str:
        return "uniform noise"

    def __call__(
        self,
        victim: Victim,  # noqa: ARG002 - the protocol's
        pixels: Tensor,
        labels: Tensor,  # noqa: ARG002 - the protocol's
        threat: ThreatModel,
        generator: torch.Generator,
    ) -> Tensor:
        """A draw for each image."""
        return geometry_of(threat).random_start(pixels, generator)
