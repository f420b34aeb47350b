"""The surrogate as every library expects a classifier: a torch module from pixels to logits."""

import torch
from torch import Tensor, nn

from holdfast.attacks.victim import Victim
from holdfast.errors import HoldfastError

BELOW = 100.0
"""Nats between a class without exemplars and the least that an exemplar could score: e^-100 is 0 in float32."""


class SurrogateLogits(nn.Module):
    """A victim's whole-bank soft-kNN: pixels float [N, 3, H, W] in [0, 1] -> logits [N, C], differentiable.

    Normalisation and everything else that the encoder needs lies inside, so foolbox's `PyTorchModel`, ART's
    `PyTorchClassifier` and pyautoattack take it as it is, with bounds (0, 1). It has no parameters of its own and stays
    on the device of the victim's bank.

    A class without an exemplar scores -inf in the surrogate itself; here it gets a finite score that no other class can
    sink to, since differences of infinities are NaN in most losses.
    """

    def __init__(self, victim: Victim, tau: float | None = None) -> None:
        """Take the surrogate of `victim` at temperature `tau`, > 0; its own by default."""
        super().__init__()
        self.embed = victim.embed
        self.surrogate = victim.surrogate if tau is None else victim.surrogate.at(tau)
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """L_c of each image. Shape: [N, 3, H, W] -> [N, C]."""
        scores: Tensor = self.surrogate.log_scores(self.embed(pixels))
        return scores.masked_fill(scores.isneginf(), -1 / self.surrogate.tau - BELOW)

    @property
    def present(self) -> int:
        """How many classes have an exemplar, and so can be answered."""
        return int(torch.bincount(self.surrogate.labels).count_nonzero())

    def wrong_class(self, pixels: Tensor, labels: Tensor, rank: int) -> Tensor:
        """The `rank`-th strongest wrong class of each image (1 is the strongest). Shape: -> int64 [N].

        Raises:
            HoldfastError: there are not so many.

        """
        if not 1 <= rank < self.present:
            raise HoldfastError(
                f"there is no wrong class of rank {rank}: of {self.present} classes with exemplars, ranks run from 1 to"
                f" {self.present - 1}; leave this attack out"
            )
        with torch.no_grad():
            scores: Tensor = self(pixels).scatter(1, labels[:, None], -torch.inf)
        return scores.argsort(dim=1, descending=True)[:, rank - 1]
