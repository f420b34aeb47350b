"""DeACL: decoupled adversarial contrastive learning (Zhang et al. 2022, arXiv 2207.10899).

What a self-supervised teacher knows is kept, and made robust, by a student that begins as a copy of it:

    x' <- argmax over the ball of -cos(S(x'), T(x))
    loss = -cos(S(x), T(x)) - w cos(S(x'), S(x))

No label is read. The teacher is the encoder as the stage before left it: put this stage behind a self-supervised one.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.trainer.augment import WEAK, AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.attack import AttackConfig
from holdfast.trainer.objectives.base import ImageBatch
from holdfast.trainer.objectives.distillation.teacher import TeacherObjective
from holdfast.tyro_flags import Epsilon


@dataclass(frozen=True)
class DeaclConfig(AttackConfig):
    """Distil a self-supervised teacher into a robust student of the same shape."""

    steps: int = 5
    """Gradient steps of the attack."""

    step_size: Epsilon = 2 / 255
    """Length of each step, in pixels of [0, 1]."""

    robust_weight: float = 2.0
    """Weight of what the attacked image must keep, against the 1 of what the clean one must."""

    augment: AugmentConfig = field(default_factory=lambda: WEAK)
    """How the one view of each image is drawn. Flips and shifts alone: colours tell classes apart."""

    def build(self, encoder: ImageEncoder, classes: int) -> "Deacl":  # noqa: ARG002 - reads no labels
        """A fresh objective for `encoder`."""
        return Deacl(self, encoder)


class Deacl(TeacherObjective):
    """Stay with the teacher on clean images, and with oneself on attacked ones."""

    names = ("clean", "robust")

    def __init__(self, config: DeaclConfig, encoder: ImageEncoder) -> None:
        super().__init__(encoder)
        self.config = config

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a view of each image, attack it, relate student and teacher."""
        config = self.config
        clean = view(shared_flip(batch.pixels(), config.augment, generator), config.augment, generator)
        goal = self.targets(clean)
        attacked = config.adversary(
            lambda pixels: -F.cosine_similarity(encoder(pixels).float(), goal), clean, generator, encoder
        )
        # Clean and attacked images as one batch, so BatchNorm cannot tell them apart.
        own, moved = encoder(torch.cat([clean, attacked])).float().chunk(2)
        return {
            "clean": -F.cosine_similarity(own, goal).mean(),
            "robust": -config.robust_weight * F.cosine_similarity(moved, own).mean(),
        }
