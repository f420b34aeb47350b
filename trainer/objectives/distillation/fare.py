"""FARE: unsupervised adversarial fine-tuning (Schlarmann et al. 2024, arXiv 2402.12336).

An encoder that exists, T, is made robust without a label and without changing what it is used for: its copy S is to give under
attack what T gives for the clean image.

    x'  <- argmax over the ball of  |S(x') - T(x)|^2
    loss = |S(x') - T(x)|^2 + c |S(x) - T(x)|^2

The authors' c is 0. They compare embeddings of CLIP at the length that these have; here they are of unit length, as they are
served and as a kNN compares them, so a squared distance is 2 - 2 cos. T is the encoder as the stage before left it, or as it
came.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.attacks.pgd import frozen
from holdfast.trainer.augment import WEAK, AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.attack import AttackConfig
from holdfast.trainer.objectives.base import ImageBatch
from holdfast.trainer.objectives.distillation.teacher import TeacherObjective
from holdfast.tyro_flags import Epsilon


@dataclass(frozen=True)
class FareConfig(AttackConfig):
    """Give under attack what the original encoder gives for the clean image. The authors attack by 10 steps of 1/255."""

    epsilon: Epsilon = 4 / 255
    """How far the attacker may move, in pixels of [0, 1]; the authors' are 2/255 and 4/255."""

    steps: int = 5
    """Gradient steps of the attack."""

    step_size: Epsilon = 2 / 255
    """Length of each step, in pixels of [0, 1]."""

    clean_weight: float = 0.0
    """Weight c of the clean image, at the price of one more image in the step; the authors' is 0."""

    augment: AugmentConfig = field(default_factory=lambda: WEAK)
    """How the one view of each image is drawn; the original embeds the same view."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.clean_weight >= 0:
            raise ValueError(f"the weight of clean images must be at least 0, not {self.clean_weight}")

    def build(self, encoder: ImageEncoder, classes: int) -> "Fare":  # noqa: ARG002 - reads no labels
        """A fresh objective for `encoder`."""
        return Fare(self, encoder)


class Fare(TeacherObjective):
    """Stay where the original puts the clean image, however it is attacked."""

    moved: Tensor

    def __init__(self, config: FareConfig, encoder: ImageEncoder) -> None:
        super().__init__(encoder)
        self.config = config
        self.names = ("robust", "clean") if config.clean_weight else ("robust",)
        self.register_buffer("moved", torch.zeros(()), persistent=False)

    def watched(self) -> dict[str, Tensor]:
        """How far clean embeddings have moved from the original's: their mean squared distance."""
        return {"moved": self.moved}

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a view of each image, attack it, and pull it back."""
        config = self.config
        clean = view(shared_flip(batch.pixels(), config.augment, generator), config.augment, generator)
        goal = self.targets(clean)

        def distance(embeddings: Tensor) -> Tensor:
            return (F.normalize(embeddings.float(), dim=1) - goal).square().sum(1)

        with frozen(encoder), torch.no_grad():
            self.moved.copy_(distance(encoder(clean)).mean())
        attacked = config.adversary(lambda pixels: distance(encoder(pixels)), clean, generator, encoder)
        if not config.clean_weight:
            return {"robust": distance(encoder(attacked)).mean()}
        moved, own = encoder(torch.cat([attacked, clean])).chunk(2)
        return {"robust": distance(moved).mean(), "clean": config.clean_weight * distance(own).mean()}
