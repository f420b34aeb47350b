"""Self-supervised self-adaptive training (Huang et al. 2021, arXiv 2101.08732, section 6): a target for each image, label-free.

The bank holds a target t_i of unit length for each training image. With f the encoder, g a head, h a predictor, and f', g'
their exponential means over the steps:

    z_i  =  norm(g'(f'(view of x_i)))
    t_i  <- norm(a t_i + (1 - a) z_i)
    loss =  mean of  2 - 2 <norm(h(g(f(view of x_i)))), t_i>

One view is enough, as the target comes from earlier visits: a pass forward and backward, and one forward, for each image. At
the first visit t_i is z_i. The authors published no code; a = .7 and the mean's decay of .99 are theirs, the layers are ours.
Collapse, where all images have one embedding, is watched: column `spread` of the log.
"""

import copy
import math
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.trainer.augment import STRONG, AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.base import ImageBatch, Objective, TrainingSet
from holdfast.trainer.objectives.memory import ImageMemory


@dataclass(frozen=True)
class SelfDistilledConfig:
    """Self-supervised pre-training toward what a mean of the encoder has said of each image. Small batches do, too."""

    momentum: float = 0.7
    """How much of a target stays at each visit, a."""

    decay: float = 0.99
    """Decay of the mean of the weights at the first step; it rises to 1 by a cosine."""

    hidden: int = 512
    """Width of the hidden layers of head and predictor."""

    projection: int = 128
    """Length of a target. The bank holds as many float16 numbers for each image."""

    views: Literal[1, 2] = 1
    """Views of each image: with two the mean sees another one than the encoder."""

    augment: AugmentConfig = field(default_factory=lambda: STRONG)
    """How views are drawn."""

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1 or not 0 <= self.decay <= 1 or min(self.hidden, self.projection) < 1:
            raise ValueError(
                "self-distillation needs a momentum in [0, 1), a decay in [0, 1] and layers of at least 1 unit, not"
                f" {self.momentum}, {self.decay}, {self.hidden} and {self.projection}"
            )

    def build(self, encoder: ImageEncoder, classes: int) -> "SelfDistilled":  # noqa: ARG002 - reads no labels
        """A fresh objective for `encoder`."""
        return SelfDistilled(self, encoder)


class SelfDistilled(Objective):
    """Predict what the mean encoder has said of an image; no label is read."""

    names = ("distance",)
    taken: Tensor
    spread: Tensor

    def __init__(self, config: SelfDistilledConfig, encoder: ImageEncoder) -> None:
        super().__init__()
        self.config = config
        self.head = _layers(encoder.dim, config.hidden, config.projection)
        self.predictor = _layers(config.projection, config.hidden, config.projection)
        self.mean_encoder = copy.deepcopy(encoder).requires_grad_(requires_grad=False)
        self.mean_head = copy.deepcopy(self.head).requires_grad_(requires_grad=False)
        self.bank = ImageMemory(config.projection, dtype=torch.float16)
        self.register_buffer("taken", torch.tensor(data=False))
        self.register_buffer("spread", torch.ones(()))
        self._known = False

    def watched(self) -> dict[str, Tensor]:
        """Standard deviation of the z over a batch, per dimension: 1 where they point everywhere alike, 0 after a collapse."""
        return {"spread": self.spread}

    @torch.no_grad()
    def prepare(self, encoder: ImageEncoder, train_set: TrainingSet, step: int) -> None:  # noqa: ARG002 - the protocol's
        """Begin the mean with the encoder as it is, then let it follow."""
        if not self._known and not self.taken:
            self.mean_encoder.load_state_dict(encoder.state_dict())
            self.mean_head.load_state_dict(self.head.state_dict())
            self.taken.fill_(value=True)
        elif step > 1:
            toward = (1 - self.config.decay) * (0.5 + 0.5 * math.cos(math.pi * step / max(self.stage_steps, step)))
            for mean, now in ((self.mean_encoder, encoder), (self.mean_head, self.head)):
                torch._foreach_lerp_(tuple(mean.parameters()), tuple(now.parameters()), toward)
        self._known = True

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a view of each image, or two; move its target; predict it."""
        augment = self.config.augment
        flipped = shared_flip(batch.pixels(), augment, generator)
        seen = view(flipped, augment, generator)
        other = seen if self.config.views == 1 else view(flipped, augment, generator)
        targets = self._moved_targets(batch, other)
        predicted = F.normalize(self.predictor(self.head(encoder(seen))).float(), dim=1)
        return {"distance": (2 - 2 * (predicted * targets).sum(1)).mean()}

    @torch.no_grad()
    def _moved_targets(self, batch: ImageBatch, pixels: Tensor) -> Tensor:
        z = F.normalize(self.mean_head(self.mean_encoder(pixels)).float(), dim=1)
        targets = F.normalize(torch.lerp(z, self.bank.at(batch.rows), self.config.momentum), dim=1)
        self.bank.write(batch.rows, targets)
        self.spread.copy_(z.std(dim=0).mean() * self.config.projection**0.5)
        return targets


def _layers(n_in: int, hidden: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, n_out, bias=False)
    )
