"""The losses that the adaptive attack climbs, one after the other. Each gives PGD something to maximise.

A new rung is a class here; which are climbed is the tuple that is handed to `AdaptiveAttack`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainer.attacks.guides import GuideBank
from trainer.attacks.surrogate import SoftKNN
from trainer.attacks.victim import Victim

Loss = Callable[[Tensor], Tensor]


class Rung(Protocol):
    """One way to see a victim's vote as something differentiable. `str` of it names it in reports."""

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:
        """What PGD maximises for clean `pixels` [N, 3, H, W] of classes `labels` [N]: [N, 3, H, W] -> [N]."""
        ...


@dataclass(frozen=True)
class Margin:
    """The strongest wrong class against the true one, on the whole-bank soft kNN."""

    tau: float

    def __str__(self) -> str:
        return f"margin tau {self.tau:g}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """Max over c != y of L_c, less L_y."""
        surrogate = victim.surrogate.at(self.tau)
        return lambda attacked: surrogate.margin_loss(victim.embed(attacked), labels)


@dataclass(frozen=True)
class RelativeMargin:
    """`Margin` with a temperature that follows the embeddings: `share` of the spread of an image's similarities.

    Where embeddings lie in a narrow cone (a collapsed or uncentred encoder), all similarities are nearly equal, any
    fixed temperature sees one straight line, and PGD overshoots what is close by. This rung sees every scale alike.
    """

    share: float = 0.1

    def __str__(self) -> str:
        return f"margin tau {self.share:g} of the spread"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """Max over c != y of L_c, less L_y, at the temperature of where the attack has got to."""
        bank = victim.surrogate.bank
        # Moving the bank's mean to the origin shifts all similarities of an image alike, so no margin changes; but
        # tiny differences between similarities near 1 are then no longer lost to rounding.
        centred = bank - bank.mean(0)
        covariance = centred.T @ centred / len(bank)
        surrogate = SoftKNN(centred, victim.surrogate.labels, victim.surrogate.classes, tau=1.0)

        def loss(attacked: Tensor) -> Tensor:
            z = victim.embed(attacked).float()
            with torch.no_grad():
                # The variance of <z, b> over the bank is z' Cov(b) z.
                spread = ((z @ covariance) * z).sum(1).clamp_min(1e-14).sqrt()
            return surrogate.margin_loss(z / (self.share * spread)[:, None], labels)

        return loss


@dataclass(frozen=True)
class Targeted:
    """One wrong class against the true one: the `rank`-th strongest at the clean image (1 is the strongest)."""

    tau: float
    rank: int

    def __str__(self) -> str:
        return f"targeted tau {self.tau:g} class {self.rank}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:
        """L_target - L_y, with the target fixed at the clean image."""
        surrogate = victim.surrogate.at(self.tau)
        with torch.no_grad():
            scores = surrogate.log_scores(victim.embed(pixels)).scatter(1, labels[:, None], -torch.inf)
        targets = scores.argsort(dim=1, descending=True)[:, self.rank - 1]
        return lambda attacked: surrogate.targeted_margin_loss(victim.embed(attacked), labels, targets)


@dataclass(frozen=True)
class CrossEntropy:
    """The true class's share of all similarities (ASK)."""

    tau: float

    def __str__(self) -> str:
        return f"cross-entropy tau {self.tau:g}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """-log of the softmax of L at y."""
        surrogate = victim.surrogate.at(self.tau)
        return lambda attacked: surrogate.cross_entropy_loss(victim.embed(attacked), labels)


@dataclass(frozen=True)
class Guided:
    """PGD-kNN of SSAT: into the crowd of exemplars around the nearest one of another class."""

    number: int = 75

    def __str__(self) -> str:
        return f"PGD-kNN {self.number} guides"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:
        """Minus the sum of squared distances to guides chosen at the clean image."""
        bank = GuideBank(victim.surrogate.bank, victim.surrogate.labels)
        with torch.no_grad():
            guides = bank.choose(victim.embed(pixels), labels, number=self.number)
        return lambda attacked: -guides.squared_distances(victim.embed(attacked))


@dataclass(frozen=True)
class TopK:
    """A control, not an attack: the similarity-weighted vote of the k nearest alone.

    Its gradient is masked: toward a class that is not among the k it has none, so it can only flee the neighbours
    it has. Kept to show that the planted-adversary test notices.
    """

    k: int

    def __str__(self) -> str:
        return f"weighted top-{self.k}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """Summed similarity of the k nearest that are of another class, less that of those of class y."""
        bank, bank_labels = victim.surrogate.bank, victim.surrogate.labels

        def loss(attacked: Tensor) -> Tensor:
            similarities, rows = (victim.embed(attacked) @ bank.T).topk(min(self.k, len(bank)), dim=1)
            return torch.where(bank_labels[rows] == labels[:, None], -similarities, similarities).sum(1)

        return loss


@dataclass(frozen=True)
class Counts:
    """A control, not an attack: the vote counts themselves, whose gradient is zero everywhere."""

    k: int

    def __str__(self) -> str:
        return f"vote counts of {self.k}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """How many of the k nearest are of another class."""
        bank, bank_labels = victim.surrogate.bank, victim.surrogate.labels

        def loss(attacked: Tensor) -> Tensor:
            similarities, rows = (victim.embed(attacked) @ bank.T).topk(min(self.k, len(bank)), dim=1)
            # Counting goes through an equality, so nothing flows back; the zero keeps autograd's graph connected.
            return (bank_labels[rows] != labels[:, None]).sum(1) + 0 * similarities.sum(1)

        return loss
