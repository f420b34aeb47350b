"""What a suite is made of: attacks that propose one candidate per image.

A new attack is a subclass in a file of its own that implements `run`, and a line where a suite lists what it runs
(holdfast/evaluation/suites.py for `--full`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.losses import AttackLoss
from holdfast.attacks.pgd import pgd
from holdfast.attacks.victim import Victim
from holdfast.bundle.threat_model import ThreatModel

RELATIVE_SLACK, ABSOLUTE_SLACK = 1e-4, 1e-6
"""Room for rounding errors of float32 in the length of a move. A candidate is rounded inside the ball before it is judged."""

ONWARD = 0.25
"""Share of the usual step size with which an attack goes on from where another one stopped."""


class AttackKind(StrEnum):
    """What an attack knows. White-box attacks come first and must find nearly all: what the others add is a warning."""

    WHITE_BOX = "white box"
    """Gradients of the encoder, and the bank."""

    TRANSFER = "transfer"
    """Gradients of something else than what is attacked."""

    BLACK_BOX = "black box"
    """Answers alone."""

    RANDOM = "random"
    """Nothing."""


@dataclass(frozen=True, eq=False)
class AttackBatch:
    """Images that are attacked at once, n of them, at least one.

    Attributes:
        victim: what is attacked, and all that is known of it.
        pixels: float [n, 3, H, W] in [0, 1], the clean images, on the device of `victim`.
        labels: int64 [n], their true classes.
        threat: where each may move.
        generator: source of all randomness: the same state, the same candidates.
        best: float [n, 3, H, W], what attacks before this one made of them: the strongest, where that is kept; the clean
            images where nothing was tried. An attack may begin there.

    """

    victim: Victim
    pixels: Tensor
    labels: Tensor
    threat: ThreatModel
    generator: torch.Generator
    best: Tensor


class Attack(ABC):
    """One attack. This class keeps the call and checks what goes in and comes out; subclasses implement `run`.

    What attacks whole sets is a `holdfast.attacks.search.worst_case.WorstCaseAttack`.
    """

    @property
    @abstractmethod
    def kind(self) -> AttackKind:
        """What it knows."""

    @abstractmethod
    def __str__(self) -> str:
        """Its name in reports, at most 80 characters."""

    @abstractmethod
    def run(self, batch: AttackBatch) -> Tensor:
        """Propose one candidate for each image of a batch that is not empty.

        Returns:
            Float [n, 3, H, W] in [0, 1], inside the ball, detached: for each image the strongest candidate, whether the
            attack itself believes in it or not. The served answer decides.

        """

    def __call__(
        self,
        victim: Victim,
        pixels: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: torch.Generator,
        *,
        best: Tensor | None = None,
    ) -> Tensor:
        """Propose one candidate per image; for the arguments see `AttackBatch`, for the result `run`.

        Raises:
            ValueError: pixels or labels are of another shape, type or range; or what `run` proposed is, or lies outside
                the ball.

        """
        _check_clean(pixels, labels)
        if len(pixels) == 0:
            return pixels.clone()
        batch = AttackBatch(victim, pixels, labels, threat, generator, pixels if best is None else best)
        candidates = self.run(batch)
        self._check_proposed(candidates, pixels, threat)
        return candidates

    def _check_proposed(self, candidates: Tensor, pixels: Tensor, threat: ThreatModel) -> None:
        if candidates.shape != pixels.shape:
            raise ValueError(f"{self} proposed {list(candidates.shape)} for images {list(pixels.shape)}")
        lengths = geometry_of(threat).lengths(candidates - pixels)
        outside = ~(lengths <= threat.epsilon * (1 + RELATIVE_SLACK) + ABSOLUTE_SLACK) | ~_in_range(candidates)
        if bool(outside.any()):
            raise ValueError(f"{self} proposed {int(outside.sum())} of {len(pixels)} candidates outside {threat} or [0, 1]")


@dataclass(frozen=True)
class PGDAttack(Attack):
    """Projected gradient descent on one loss.

    The step size is 2.5 epsilon / steps, so that every point of the ball can be reached and left again (Madry et al.
    2018); with one step it is epsilon (Goodfellow et al. 2015).

    Attributes:
        loss: what is maximised.
        steps: gradients.
        kind: what the loss knows.
        onward: begin at the strongest candidate so far, with steps of a quarter of that size, instead of anywhere in the ball.

    """

    loss: AttackLoss
    steps: int = 40
    kind: AttackKind = AttackKind.WHITE_BOX
    onward: bool = False

    def __str__(self) -> str:
        return f"{self.loss}, onward" if self.onward else str(self.loss)

    def run(self, batch: AttackBatch) -> Tensor:
        """The iterate of the largest loss."""
        return pgd(
            self.loss(batch.victim, batch.pixels, batch.labels),
            batch.pixels,
            batch.threat,
            steps=self.steps,
            step_size=batch.threat.epsilon * min(1, 2.5 / self.steps) * (ONWARD if self.onward else 1),
            start=batch.best if self.onward else None,
            generator=batch.generator,
            keep="best",
        )


def _check_clean(pixels: Tensor, labels: Tensor) -> None:
    if not pixels.is_floating_point() or pixels.dim() != 4 or pixels.shape[1] != 3:
        raise ValueError(f"pixels are float [n, 3, H, W], not {pixels.dtype} {list(pixels.shape)}")
    if labels.is_floating_point() or labels.shape != pixels.shape[:1]:
        raise ValueError(f"{len(pixels)} images take as many integer labels, not {labels.dtype} {list(labels.shape)}")
    if not bool(_in_range(pixels).all()):
        raise ValueError("pixels lie outside [0, 1]: divide grey levels by 255")


def _in_range(pixels: Tensor) -> Tensor:
    """Whether all pixels of an image lie in [0, 1]; NaN does not. Shape: [n, ...] -> bool [n]."""
    return ((pixels >= 0) & (pixels <= 1)).flatten(1).all(1)
