"""Losses on distances to exemplars near an image: toward some, away from others, or only away from where it was.

Embeddings and exemplars have length 1, so |z - b|^2 = 2 - 2 <z, b>, and the nearest are the most similar.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.attacks.losses.base import Loss
from holdfast.attacks.losses.guides import GuideBank
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import Victim

INSIDE = 1e-5
"""By how much, in squared distance, a guide must lie on the right side of the k-th neighbour (Sitawarin & Wagner)."""


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
class SitawarinWagner:
    """The attack on kNN of Sitawarin & Wagner, "Minimum-Norm Adversarial Examples on KNN", arXiv 2003.06559 v2.

    Minimise, with guides g_1..g_m of signs c_i,

        sum over i of relu(c_i (|z - g_i|^2 - eta_k) + 1e-5),

    where the m/2 guides of c = +1 are those of the nearest wrong class that lie nearest to z, the m/2 of c = -1 are those
    of the true class that do, and eta_k is the squared distance of z to its k-th nearest exemplar of any class. The loss
    is 0 when the first half is among the k nearest and the second is not. All of them are chosen anew at every step,
    where the attack has got to, and eta_k counts as a constant.

    A class is as near as its m/2 nearest exemplars are on average: one mislabelled exemplar does not draw the attack.

    Attributes:
        k: neighbours that vote.
        number: m, how many guides, an even number; a class that is smaller gives all it has.

    """

    k: int
    number: int

    def __post_init__(self) -> None:
        if self.k < 1 or self.number < 2 or self.number % 2:
            raise ValueError(f"k must be at least 1 and the guides an even number, not {self.k} and {self.number}")

    def __str__(self) -> str:
        return f"Sitawarin-Wagner {self.number} guides, k {self.k}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """Minus that sum."""
        bank, half = victim.surrogate.bank, self.number // 2

        def loss(attacked: Tensor) -> Tensor:
            z = victim.embed(attacked).float()
            with torch.no_grad():
                similarities = z @ bank.T
                nearest = _Nearest.of(similarities, victim.surrogate, half)
                kth = similarities.topk(min(self.k, len(bank)), dim=1).values[:, -1:]
                wrong, own = nearest.guides(nearest.wrong_class(labels, 1)), nearest.guides(labels)
            # eta_k - |z - g|^2 = 2 (<z, g> - s_k), and the other way round.
            far = (2 * (kth - _dots(z, bank, wrong)) + INSIDE).relu() * (wrong >= 0)
            close = (2 * (_dots(z, bank, own) - kth) + INSIDE).relu() * (own >= 0)
            return -far.sum(1) - close.sum(1)

        return loss


@dataclass(frozen=True)
class FeatureMatching:
    """Toward the middle of a wrong class's nearest exemplars: minimise |z(x + d) - mean_j g_j|^2.

    A class is as near as its `number` nearest exemplars are on average, seen from the clean image; the same exemplars are
    the g_j, and stay so. Feature matching goes back to Sabour et al., "Adversarial Manipulation of Deep Representations",
    arXiv 1511.05122.

    Attributes:
        rank: which wrong class, 1 (the nearest) to C - 1.
        number: how many exemplars of it; a class that is smaller gives all it has.

    """

    rank: int
    number: int = 75

    def __post_init__(self) -> None:
        if self.rank < 1 or self.number < 1:
            raise ValueError(f"rank and number count from 1, not {self.rank} and {self.number}")

    def __str__(self) -> str:
        return f"feature matching class {self.rank}, {self.number} guides"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:
        """Minus that squared distance. Raises ValueError where the bank has no `rank`-th wrong class."""
        bank = victim.surrogate.bank
        with torch.no_grad():
            nearest = _Nearest.of(victim.embed(pixels).float() @ bank.T, victim.surrogate, self.number)
            rows = nearest.guides(nearest.wrong_class(labels, self.rank))
            members = (rows >= 0).float()[:, :, None]
            goal = (bank[rows.clamp_min(0)] * members).sum(1) / members.sum(1)
        return lambda attacked: -(victim.embed(attacked).float() - goal).square().sum(1)


@dataclass(frozen=True)
class LatentDistance:
    """Away from where the clean image is, wherever to: maximise |z(x + d) - z(x)|^2. It needs no label.

    The square has the same maxima, and its gradient exists at d = 0, where it is zero: a random start is needed.
    """

    def __str__(self) -> str:
        return "latent distance"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - label-free
        """That squared distance."""
        with torch.no_grad():
            home = victim.embed(pixels).float()
        return lambda attacked: (victim.embed(attacked).float() - home).square().sum(1)


@dataclass(frozen=True)
class _Nearest:
    """The nearest exemplars of each class, for N embeddings, C classes, at most m of each.

    Attributes:
        rows: int64 [N, C, m], the nearest first; -1 where a class has fewer.
        nearness: float [N, C], mean similarity of them; -inf for a class without an exemplar.
        present: how many classes have an exemplar.

    """

    rows: Tensor
    nearness: Tensor
    present: int

    @classmethod
    def of(cls, similarities: Tensor, surrogate: TorchSoftKNN, number: int) -> "_Nearest":
        """Of float [N, M] similarities to the bank of `surrogate`, which lies sorted by class."""
        shape = (len(similarities), surrogate.classes, min(number, max(surrogate.widths)))
        rows = torch.full(shape, -1, device=similarities.device)
        nearness = torch.full(shape[:2], -torch.inf, device=similarities.device)
        start = 0
        for c, width in enumerate(surrogate.widths):
            if width:
                values, places = similarities[:, start : start + width].topk(min(number, width), dim=1)
                rows[:, c, : values.shape[1]] = places + start
                nearness[:, c] = values.mean(1)
            start += width
        return cls(rows, nearness, sum(width > 0 for width in surrogate.widths))

    def wrong_class(self, labels: Tensor, rank: int) -> Tensor:
        """The `rank`-th nearest class that is not the one of `labels` [N]: int64 [N]."""
        wrong = self.nearness.scatter(1, labels[:, None], -torch.inf)
        # A GPU, which would have to be waited for, is asked only where the class of an image may be the one too few.
        if self.present - 1 < rank and int(wrong.isfinite().sum(1).min()) < rank:
            raise ValueError(f"the bank holds no wrong class of rank {rank}: too few classes have an exemplar")
        return wrong.argsort(dim=1, descending=True)[:, rank - 1]

    def guides(self, classes: Tensor) -> Tensor:
        """The exemplars of class `classes` [N]. Shape: int64 [N, m]."""
        return self.rows[torch.arange(len(classes), device=classes.device), classes]


def _dots(z: Tensor, bank: Tensor, rows: Tensor) -> Tensor:
    """Similarity of each embedding [N, D] to its own rows of the bank, int64 [N, m]; a row of -1 stands for none."""
    return (bank[rows.clamp_min(0)] @ z[:, :, None])[:, :, 0]
