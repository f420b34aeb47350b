"""Cross-entropy through a linear classifier on the embedding: the ordinary way, as a baseline."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holdfast.trainer.augment import AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.base import ImageBatch, Objective
from holdfast.trainer.objectives.head import LearnedHead


@dataclass(frozen=True)
class SupervisedConfig:
    """Supervised training by cross-entropy. The kNN uses the embedding below the classifier."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How the one view of each image is drawn."""

    def build(self, encoder: ImageEncoder, classes: int) -> "Supervised":
        """A fresh objective for `encoder`."""
        return Supervised(self, encoder, classes)


class Supervised(Objective):
    """Cross-entropy of a linear classifier on one augmented view."""

    names = ("cross_entropy",)
    labels = "all"

    def __init__(self, config: SupervisedConfig, encoder: ImageEncoder, classes: int) -> None:
        super().__init__()
        self.config = config
        self.classifier = nn.Linear(encoder.dim, classes)

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify one view of each image."""
        augment = self.config.augment
        pixels = view(shared_flip(batch.pixels(), augment, generator), augment, generator)
        logits = self.classifier(encoder(pixels))
        return {"cross_entropy": F.cross_entropy(logits.float(), batch.labels)}

    def classifier_head(self) -> LearnedHead:
        """The linear classifier."""
        return LearnedHead.of(self.classifier)
