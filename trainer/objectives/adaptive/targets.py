"""Targets that follow the model (self-adaptive training: Huang et al. 2020, arXiv 2002.10319; 2021, arXiv 2101.08732).

Each training image i has a target t_i, at first its label. Once the training has found what most labels say, at each visit and
before the loss, with p_i what the classifier gives for this view of the image, not differentiated:

    t_i  <- a t_i + (1 - a) p_i
    loss =  mean over the batch of  w_i H(t_i, p_i),   w_i = max_j t_ij, scaled to a mean of 1,   H(t, p) = -sum_j t_j log p_j

A wrong label that contradicts what the other labels teach is forgotten, and an image of which the model is unsure counts less.
What is wrong alike in most images of a class is learned like a right one, and then *reinforced*: no defence against a poisoned
majority. The weights are scaled within what one thread sees of a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.trainer.objectives.base import ImageBatch, TrainingSet
from holdfast.trainer.objectives.memory import ImageMemory

SMALLEST = 1e-4
"""A target whose logarithm is taken is at least so large, as in symmetric cross-entropy (arXiv 1908.06112)."""
CHUNK = 512
"""Images of which all targets are refreshed at once."""


@dataclass(frozen=True)
class SelfAdaptation:
    """When and how fast targets follow the model. A narrow network learns slowly: the authors' code then starts later."""

    momentum: float = 0.9
    """How much of a target stays at each visit, a. At .9, a label that the model contradicts is outweighed after seven."""

    start: float = 0.3
    """Share of the stage's steps that learn from the labels as they are, before targets follow the model."""

    weights: bool = True
    """Let images count by how sure their targets are."""

    def __post_init__(self) -> None:
        if not 0 <= self.start <= 1:
            raise ValueError(f"start is a share of the stage's steps, in [0, 1], not {self.start}")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"the momentum of targets must be in [0, 1], not {self.momentum}")


class AdaptiveTargets(nn.Module):
    """The targets of all training images, a part of an objective. A later stage of the same run goes on with them.

    Args:
        config: when and how fast they follow.
        classes: C.

    """

    taken: Tensor
    changed: Tensor
    """float32: the share of the last batch whose likeliest class is no longer its label."""

    def __init__(self, config: SelfAdaptation, classes: int) -> None:
        super().__init__()
        self.config, self.classes = config, classes
        self.memory = ImageMemory(classes)
        self.register_buffer("taken", torch.tensor(data=False))
        self.register_buffer("changed", torch.zeros(()))
        self.adapting = False
        self._known = False

    def prepare(self, train_set: TrainingSet, step: int, steps: int) -> None:
        """Before step `step` (from 1) of `steps`: take the labels where there are no targets yet; adapt them or not."""
        self.adapting = step > self.config.start * steps
        if self._known:
            return  # without reading `taken`, which would wait for a GPU at every step
        if not self.taken:
            known = train_set.select(torch.nonzero(train_set.labels >= 0).squeeze(1))
            self.memory.write(known.rows, F.one_hot(known.labels, self.classes).float())
            self.taken.fill_(value=True)
        self._known = True

    @torch.no_grad()
    def adapt(self, batch: ImageBatch, probabilities: Tensor) -> Tensor:
        """Move the targets of a batch toward float [N, C] probabilities, and return them: float32 [N, C].

        Never call it with what the classifier gives for attacked images: targets would follow the attacker.
        """
        targets = self.moved(batch.rows, probabilities)
        self.memory.write(batch.rows, targets)
        self.changed.copy_((targets.argmax(1) != batch.labels).float().mean())
        return targets

    @torch.no_grad()
    def moved(self, rows: Tensor, probabilities: Tensor) -> Tensor:
        """The targets at `rows`, int64 [N], as `adapt` would move them, which stay as they are.

        An image without a target yet, as it had no label, takes what the model gives.
        """
        now, before = probabilities.detach().float(), self.memory.at(rows)
        return torch.where(before.sum(1, keepdim=True) > 0, torch.lerp(now, before, self.config.momentum), now)

    @torch.no_grad()
    def refreshed(self, classify: Callable[[Tensor], Tensor], train_set: TrainingSet) -> Tensor:
        """All targets, float32 [M, C], moved once more toward what `classify` gives for the pixels of each image itself.

        Training moves a target toward what was said of a view. `classify` takes pixels to probabilities, in evaluation mode.
        """
        return torch.cat([self.moved(chunk.rows, classify(chunk.pixels())) for chunk in train_set.chunks(CHUNK)])

    def cross_entropy(self, targets: Tensor, log_probabilities: Tensor, reverse: float = 0.0) -> Tensor:
        """The loss: a scalar.

        Args:
            targets: float32 [N, C].
            log_probabilities: float32 [N, C].
            reverse: weight of H(p, t) beside H(t, p).

        """
        losses = -(targets * log_probabilities).sum(1)
        if reverse:
            losses = losses - reverse * (log_probabilities.exp() * targets.clamp(min=SMALLEST).log()).sum(1)
        if not self.config.weights:
            return losses.mean()
        weights = targets.amax(1)
        return (losses * weights).sum() / weights.sum()
