"""Losses on other classifiers over the same embeddings: what fools them may fool the vote. They are `AttackKind.TRANSFER`."""

from dataclasses import dataclass
from typing import Self
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.attacks.losses.base import Loss
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import Victim


@dataclass(frozen=True)
class Prototypes:
    """Class means in the place of exemplars: p_c = mean of the b_i with y_i = c, brought to length 1.

    Maximise the log odds against the true class in a softmax over prototypes,

        logsumexp over c != y of <z, p_c> / tau, less <z, p_y> / tau.

    A small tau sees the nearest wrong prototype alone, a large one runs from all at once.
    """

    tau: float = 0.1

    def __str__(self) -> str:
        return f"prototypes tau {self.tau:g}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """Those log odds."""
        surrogate = victim.surrogate
        members = F.one_hot(surrogate.labels, surrogate.classes).to(surrogate.bank)
        prototypes = F.normalize(members.T @ surrogate.bank, dim=1)
        absent = members.sum(0) == 0

        def loss(attacked: Tensor) -> Tensor:
            scores = victim.embed(attacked).float() @ (prototypes.T / self.tau)
            wrong = scores.masked_fill(absent, -torch.inf).scatter(1, labels[:, None], -torch.inf)
            return wrong.logsumexp(1) - scores.gather(1, labels[:, None])[:, 0]

        return loss


@dataclass(frozen=True)
class LinearHead:
    """The margin on a linear classifier of the embeddings, fitted to the bank by ridge regression on one-hot labels.

    Maximise max over c != y of h_c, less h_y, with h(z) = z W + a. It is fitted once per victim.

    Attributes:
        ridge: penalty on W, in units of the mean variance of a dimension of the bank.

    """

    ridge: float = 1e-2

    def __str__(self) -> str:
        return f"linear head, ridge {self.ridge:g}"

    def __call__(self, victim: Victim, pixels: Tensor, labels: Tensor) -> Loss:  # noqa: ARG002 - the protocol's
        """That margin."""
        head = _head_of(victim, self.ridge)

        def loss(attacked: Tensor) -> Tensor:
            scores = head(victim.embed(attacked).float())
            wrong = scores.scatter(1, labels[:, None], -torch.inf)
            return wrong.amax(1) - scores.gather(1, labels[:, None])[:, 0]

        return loss


@dataclass(frozen=True, eq=False)
class Ridge:
    """An affine function, h(z) = z `weight` + `offset`: float [D, C] and [C]."""

    weight: Tensor
    offset: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """Scores. Shape: float [N, D] -> [N, C]."""
        return z @ self.weight + self.offset

    @classmethod
    def fit(cls, surrogate: TorchSoftKNN, ridge: float) -> Self:
        """Minimise mean_i |h(b_i) - onehot(y_i)|^2 + ridge v |W|^2, v the mean variance of a dimension of the bank.

        In closed form, (Cov + ridge v I) W = Cov(b, onehot), and h(mean b) = mean onehot. A class without an exemplar
        scores -inf.
        """
        bank = surrogate.bank.double()
        targets = F.one_hot(surrogate.labels, surrogate.classes).double()
        centre, shares = bank.mean(0), targets.mean(0)
        centred = bank - centre
        covariance = centred.T @ centred / len(bank)
        damping = ridge * covariance.diagonal().mean().clamp_min(torch.finfo(torch.double).tiny)
        identity = torch.eye(len(covariance), dtype=torch.double, device=bank.device)
        weight = torch.linalg.solve(covariance + damping * identity, centred.T @ (targets - shares) / len(bank))
        offset = (shares - centre @ weight).masked_fill(shares == 0, -torch.inf)
        return cls(weight.float(), offset.float())


_heads: WeakKeyDictionary[Victim, dict[float, Ridge]] = WeakKeyDictionary()
"""A loss is made for every batch; a head, once fitted, lives as long as its victim."""


def _head_of(victim: Victim, ridge: float) -> Ridge:
    fitted = _heads.setdefault(victim, {})
    if ridge not in fitted:
        fitted[ridge] = Ridge.fit(victim.surrogate, ridge)
    return fitted[ridge]
