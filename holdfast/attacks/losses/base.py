"""What an attack loss is."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from holdfast.attacks.victim import Victim

Loss = Callable[[Tensor], Tensor]
"""Pixels float [N, 3, H, W] in [0, 1] -> one value per image [N], which PGD maximises."""


class AttackLoss(Protocol):
    """One way to see a victim's vote as something differentiable. `str` of it names it in reports."""

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:
        """What PGD maximises for clean `pixels` [N, 3, H, W] of classes `labels` [N]: [N, 3, H, W] -> [N]."""
        ...
