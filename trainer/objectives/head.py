"""What an objective classifies embeddings with, as it is left to whoever comes after the training."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, eq=False)
class LearnedHead:
    """Logits of embeddings as the encoder gives them, not of unit length."""

    weights: Tensor
    """Float [C, D], or [C + 1, D] with a row for "I do not know" last; of unit length / temperature where `cosine`."""

    bias: Tensor
    """Float [C] or [C + 1]."""

    abstains: bool = False
    """Whether the last row is "I do not know"."""

    cosine: bool = False
    """Whether embeddings are brought to unit length first."""

    @classmethod
    def of(cls, classifier: nn.Linear, abstainer: nn.Linear | None = None) -> "LearnedHead":
        """A linear classifier, and what it may have learned to say "I do not know" by."""
        layers = [classifier] if abstainer is None else [classifier, abstainer]
        weights, bias = torch.cat([each.weight for each in layers]), torch.cat([each.bias for each in layers])
        return cls(weights.detach(), bias.detach(), abstains=abstainer is not None)

    @classmethod
    def of_prototypes(cls, prototypes: Tensor, temperature: float) -> "LearnedHead":
        """A cosine classifier: float [C, D], of any length."""
        weights = F.normalize(prototypes.detach(), dim=1) / temperature
        return cls(weights, weights.new_zeros(len(weights)), cosine=True)

    @property
    def classes(self) -> int:
        """C."""
        return len(self.weights) - self.abstains

    def answers(self, embeddings: Tensor) -> Tensor:
        """The likeliest class of each of float [N, D] embeddings: int64 [N]."""
        embeddings = F.normalize(embeddings, dim=1) if self.cosine else embeddings
        return F.linear(embeddings, self.weights, self.bias)[:, : self.classes].argmax(1)
