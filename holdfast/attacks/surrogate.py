"""The differentiable stand-in of the vote: a soft kNN over the whole bank.

    L_c(z) = logsumexp over i with y_i = c of <z, b_i> / tau

A vote counts the k nearest and so has no gradient; even its smoothed form has none toward a class that is absent
among them, and an attack on it reports robustness that is not there. Over the *whole* bank every class pulls.
"""

from typing import Self

import torch
from torch import Tensor

from holdfast.bundle.reader import Bundle
from holdfast.model.retrieval.base import bank_of


class TorchSoftKNN:
    """Class scores of embeddings against a bank of labelled ones: `holdfast.model.surrogate.SoftKNN`, differentiable by torch.

    Exemplars are held sorted by class, as rows: each class is then one contiguous block of the similarity matrix
    [M, N], and its logsumexp runs along the long axis for all images at once. `widths` are the heights of these blocks,
    numbers of the host, which needs to ask no GPU for them.
    """

    def __init__(self, bank: Tensor, labels: Tensor, classes: int, tau: float, class_weights: Tensor | None = None) -> None:
        """Sort a bank by class.

        Args:
            bank: float [M, D], L2-normalised embeddings of the exemplars.
            labels: integers [M] in [0, classes).
            classes: how many classes there are; those without an exemplar score -inf.
            tau: temperature, > 0; small means that only the very nearest exemplars count.
            class_weights: float [C] in (0, 1], as the vote weighs each class; None where it weighs all alike.

        Raises:
            ValueError: where shapes, labels or temperature cannot be.

        """
        if bank.dim() != 2 or labels.shape != bank.shape[:1]:
            raise ValueError(f"bank [M, D] and labels [M] do not match: {tuple(bank.shape)}, {tuple(labels.shape)}")
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
            raise ValueError(f"labels run from {int(labels.min())} to {int(labels.max())}, outside [0, {classes})")
        if not tau > 0:
            raise ValueError(f"the temperature must be positive, not {tau}")
        order = labels.argsort(stable=True)
        self.bank = bank[order].detach().float()
        self.labels = labels[order]
        self.classes = classes
        self.tau = tau
        self.class_weights = class_weights
        self.widths: list[int] = torch.bincount(labels, minlength=classes).tolist()

    def at(self, tau: float) -> Self:
        """The same bank at another temperature, sharing its memory."""
        other = object.__new__(type(self))
        other.__dict__ = self.__dict__ | {"tau": tau}
        return other

    def log_scores(self, z: Tensor, log_weights: Tensor | None = None) -> Tensor:
        """L_c, differentiable. Shape: z float [N, D] -> [N, C]; exemplars count exp(log_weights) times, float [M, N]."""
        similarities = self.bank @ (z.float().T / self.tau)
        if log_weights is not None:
            similarities = similarities + log_weights
        # A block without rows gives -inf and passes no gradient: a class that nobody votes for.
        scores = torch.stack([block.logsumexp(0) for block in torch.split(similarities, self.widths)], dim=1)
        return scores if self.class_weights is None else scores + self.class_weights.log()

    def margin_loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """By how much the strongest wrong class beats `labels` [N]; an attack maximises it. Shape: [N, D] -> [N].

        It does not saturate as a probability does, so its gradient never vanishes where the answer is sure.
        """
        scores = self.log_scores(z)
        own = scores.gather(1, labels[:, None])
        wrong = scores.scatter(1, labels[:, None], -torch.inf)
        return wrong.amax(1) - own[:, 0]

    def targeted_margin_loss(self, z: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        """By how much class `targets` [N] beats `labels` [N]; an attack maximises it. Shape: [N, D] -> [N]."""
        scores = self.log_scores(z)
        return (scores.gather(1, targets[:, None]) - scores.gather(1, labels[:, None]))[:, 0]

    def cross_entropy_loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """-log of the share of `labels` [N] in all similarities (ASK, arXiv 2106.14300). Shape: [N, D] -> [N]."""
        scores = self.log_scores(z)
        return scores.logsumexp(1) - scores.gather(1, labels[:, None])[:, 0]


def surrogate_of(bundle: Bundle, device: torch.device | str = "cpu") -> TorchSoftKNN:
    """The soft kNN over the whole bank of a complete bundle, at the bundle's own temperature.

    Raises:
        BundleError: the bundle's index cannot export its exemplars.

    """
    exported = bank_of(bundle.index)
    bank, labels = torch.from_numpy(exported.embeddings), torch.from_numpy(exported.labels)
    classes, weights = len(bundle.class_names), bundle.manifest.vote.weights_of(len(bundle.class_names))
    of_class = None if weights is None else torch.from_numpy(weights).float().to(device)
    return TorchSoftKNN(bank.to(device), labels.to(device), classes, bundle.manifest.surrogate_tau, of_class)
