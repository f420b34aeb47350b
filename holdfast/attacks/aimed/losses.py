"""What an attacker maximises who wants a wrong answer that is believed: one wrong class against all the others at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.attacks.losses.base import Loss
from holdfast.attacks.victim import Victim


@dataclass(frozen=True)
class LogOdds:
    """The log odds of a wrong class in the soft kNN: L_j, less logsumexp over c != j of L_c.

    Credibility grows with the answer's share of the vote and with nothing else, and these are the log odds of that share
    where the temperature is the vote's. A margin over the true class is content with a tie among three classes, which is
    answered with little credibility; and a share saturates where the log odds do not.

    Attributes:
        tau: temperature of the soft kNN.
        rank: which wrong class j: the `rank`-th strongest at the clean image, counted as `Targeted` counts; 0 for whichever is
            the strongest at every step.

    """

    tau: float
    rank: int = 0

    def __str__(self) -> str:
        return f"log odds tau {self.tau:g}" + (f" class {self.rank}" if self.rank else "")

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:
        """Those log odds."""
        surrogate = victim.surrogate.at(self.tau)
        fixed = None
        if self.rank:
            with torch.no_grad():
                clean = _wrong(surrogate.log_scores(victim.embed(pixels)), labels)
            present = clean.isfinite().sum(1).clamp_min(1)
            places = (self.rank - 1) % present
            fixed = clean.argsort(dim=1, descending=True).gather(1, places[:, None])

        def loss(attacked: Tensor) -> Tensor:
            scores = surrogate.log_scores(victim.embed(attacked))
            wanted = _wrong(scores, labels).argmax(1, keepdim=True) if fixed is None else fixed
            others = scores.scatter(1, wanted, -torch.inf).logsumexp(1)
            return scores.gather(1, wanted)[:, 0] - others

        return loss


def _wrong(scores: Tensor, labels: Tensor) -> Tensor:
    """Scores [N, C] with those of the true classes, int64 [N], at -inf."""
    return scores.scatter(1, labels[:, None], -torch.inf)
