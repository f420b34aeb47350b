"""The gap of an inverted file: an answer is of the exemplars in the cells that a query looks at, and the others do not vote.

Who knows the cells can push an image's embedding to where those of its own class are not looked at, though the vote of all
exemplars would still be right.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.attacks.losses.base import AttackLoss, Loss
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import Victim
from holdfast.model.retrieval.approximate.ivf import IvfIndex
from holdfast.model.retrieval.base import Retriever

TAUS = (0.05, 0.1)
BLOCK = 8192


@dataclass(frozen=True, eq=False)
class ProbedMargin:
    """By how much the strongest wrong class beats the true one among the exemplars that an inverted file looks at.

    The soft kNN of the whole bank, in which exemplar i of cell c counts sigmoid((<z, m_c> - s) / width) times: m_c is the
    cell's middle, and s the similarity of the last cell that is looked at, a constant. So classes gain by cells that come into
    view, and lose by those that go out of it.

    Attributes:
        centroids: float32 [C, D], the middle of each cell.
        probes: cells that a query looks at.
        tau: temperature of the similarities.
        width: of the edge between cells that are looked at and others.

    """

    centroids: Tensor
    probes: int
    tau: float = 0.05
    width: float = 0.02

    def __str__(self) -> str:
        return f"margin in {self.probes} of {len(self.centroids)} cells, tau {self.tau:g}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """What PGD maximises for clean pixels [N, 3, H, W] of classes `labels` [N]: [N, 3, H, W] -> [N]."""
        soft = victim.surrogate.at(self.tau)
        centroids = self.centroids.to(victim.device)
        cells = _cells_of(soft, centroids)

        def loss(attacked: Tensor) -> Tensor:
            z = victim.embed(attacked).float()
            near = centroids @ z.T
            edge = near.detach().topk(min(self.probes, len(centroids)), dim=0).values[-1]
            scores = soft.log_scores(z, F.logsigmoid((near - edge) / self.width)[cells])
            own = scores.gather(1, labels[:, None])[:, 0]
            return scores.scatter(1, labels[:, None], -torch.inf).amax(1) - own

        return loss


def gap_losses(index: Retriever) -> tuple[AttackLoss, ...]:
    """What aims at the neighbours that an index misses; nothing where it looks at all, or nobody knows where it looks."""
    if not isinstance(index, IvfIndex) or index.probes >= index.cells:
        return ()
    return tuple(ProbedMargin(torch.from_numpy(index.centroids), index.probes, tau) for tau in TAUS)


def _cells_of(soft: TorchSoftKNN, centroids: Tensor) -> Tensor:
    """The cell of each exemplar of a bank: int64 [M]."""
    return torch.cat([(part @ centroids.T).argmax(1) for part in torch.split(soft.bank, BLOCK)])
