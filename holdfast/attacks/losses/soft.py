"""Losses on the whole-bank soft kNN, L_c(z) = logsumexp over i with y_i = c of <z, b_i> / tau."""

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.attacks.losses.base import Loss
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import Victim


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
    fixed temperature sees one straight line, and PGD overshoots what is close by. This loss sees every scale alike.
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
        own = victim.surrogate
        surrogate = TorchSoftKNN(centred, own.labels, own.classes, tau=1.0, class_weights=own.class_weights)

        def loss(attacked: Tensor) -> Tensor:
            z = victim.embed(attacked).float()
            with torch.no_grad():
                # The variance of <z, b> over the bank is z' Cov(b) z.
                spread = ((z @ covariance) * z).sum(1).clamp_min(1e-14).sqrt()
            return surrogate.margin_loss(z / (self.share * spread)[:, None], labels)

        return loss


@dataclass(frozen=True)
class Targeted:
    """One wrong class against the true one: the `rank`-th strongest at the clean image (1 is the strongest).

    Where fewer wrong classes have exemplars, the count begins again with the strongest.
    """

    tau: float
    rank: int

    def __str__(self) -> str:
        return f"targeted tau {self.tau:g} class {self.rank}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:
        """L_target - L_y, with the target fixed at the clean image."""
        surrogate = victim.surrogate.at(self.tau)
        with torch.no_grad():
            scores = surrogate.log_scores(victim.embed(pixels)).scatter(1, labels[:, None], -torch.inf)
            wrong = scores.isfinite().sum(1).clamp_min(1)
        places = (self.rank - 1) % wrong
        targets = scores.argsort(dim=1, descending=True).gather(1, places[:, None])[:, 0]
        return lambda attacked: surrogate.targeted_margin_loss(victim.embed(attacked), labels, targets)


@dataclass(frozen=True)
class CrossEntropy:
    """The true class's share of all similarities: ASK, the attack of arXiv 2106.14300.

    Maximise -log of the sum over i with y_i = y of softmax_i(<z, b_i> / tau): L_y = logsumexp over the true class, so this
    is the cross-entropy of softmax(L). The softmax runs over the whole bank, not over a sample of references.
    """

    tau: float

    def __str__(self) -> str:
        return f"cross-entropy tau {self.tau:g}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """-log of the softmax of L at y."""
        surrogate = victim.surrogate.at(self.tau)
        return lambda attacked: surrogate.cross_entropy_loss(victim.embed(attacked), labels)
