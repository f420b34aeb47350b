"""AMDIM (Bachman et al. 2019, arXiv 1906.00910): agree across two views of an image, at several scales, label-free."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from holdfast.trainer.augment import AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.base import ImageBatch, Objective
from holdfast.trainer.objectives.contrastive.heads import Heads
from holdfast.trainer.objectives.contrastive.nce import REGULARISER, multiscale_nce


@dataclass(frozen=True)
class AmdimObjectiveConfig:
    """Self-supervised pre-training: AMDIM."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How the two views are drawn."""

    def build(self, encoder: ImageEncoder, classes: int) -> "AmdimObjective":  # noqa: ARG002 - reads no labels
        """A fresh objective for `encoder`."""
        return AmdimObjective(self, encoder)


class AmdimObjective(Objective):
    """NCE between two augmented views; no label is read."""

    names = ("1to5", "1to7", "5to5", "scores")

    def __init__(self, config: AmdimObjectiveConfig, encoder: ImageEncoder) -> None:
        super().__init__()
        self.config = config
        self.heads = Heads(encoder)

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw two views of each image and relate their maps."""
        augment = self.config.augment
        images = shared_flip(batch.pixels(), augment, generator)
        return amdim_terms(encoder, self.heads, view(images, augment, generator), view(images, augment, generator), generator)


def amdim_terms(
    encoder: ImageEncoder, heads: Heads, first: Tensor, second: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """AMDIM's loss between two batches of images [N, 3, H, W] that show the same things.

    Both go through the encoder as one batch, so BatchNorm cannot tell the first from the second.
    """
    maps = heads(encoder.features(torch.cat([first, second])))
    halves = {level: both.chunk(2) for level, both in maps.items()}
    one, other = ({level: both[i] for level, both in halves.items()} for i in (0, 1))
    terms = multiscale_nce(one, other, generator)
    terms["scores"] = REGULARISER * terms["scores"]
    return terms
