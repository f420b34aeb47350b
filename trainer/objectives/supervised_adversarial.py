"""Supervised adversarial training (Madry et al. 2018, arXiv 1706.06083): the strongest baseline, which needs labels."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.trainer.augment import AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.attack import AttackConfig
from holdfast.trainer.objectives.base import ImageBatch, Objective
from holdfast.trainer.objectives.head import LearnedHead


@dataclass(frozen=True)
class SupervisedAdversarialConfig(AttackConfig):
    """Cross-entropy on adversarial examples of cross-entropy."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How the one view of each image is drawn."""

    def build(self, encoder: ImageEncoder, classes: int) -> "SupervisedAdversarial":
        """A fresh objective for `encoder`."""
        return SupervisedAdversarial(self, encoder, classes)


class SupervisedAdversarial(Objective):
    """Minimise the cross-entropy that the attacker has maximised."""

    names = ("cross_entropy",)
    labels = "all"

    def __init__(self, config: SupervisedAdversarialConfig, encoder: ImageEncoder, classes: int) -> None:
        super().__init__()
        self.config = config
        self.classifier = nn.Linear(encoder.dim, classes)

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Attack one view of each image, then classify it."""
        config = self.config

        def cross_entropy(pixels: Tensor) -> Tensor:
            return F.cross_entropy(self.classifier(encoder(pixels)).float(), batch.labels, reduction="none")

        pixels = view(shared_flip(batch.pixels(), config.augment, generator), config.augment, generator)
        attacked = config.adversary(cross_entropy, pixels, generator, encoder, self.classifier)
        return {"cross_entropy": cross_entropy(attacked).mean()}

    def classifier_head(self) -> LearnedHead:
        """The linear classifier."""
        return LearnedHead.of(self.classifier)
