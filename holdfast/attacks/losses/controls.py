"""Losses that must fail: their gradient is masked, to show that the planted-adversary test notices."""

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.attacks.losses.base import Loss
from holdfast.attacks.victim import Victim


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
