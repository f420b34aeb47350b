"""Supervised adversarial training (Madry et al. 2018, arXiv 1706.06083): the strongest baseline, which needs labels."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.threat_model import Norm, ThreatModel
from trainer.attacks.pgd import frozen, pgd
from trainer.augment import AugmentConfig, shared_flip, view
from trainer.encoders import ImageEncoder
from trainer.objectives.base import Batch, Objective


@dataclass(frozen=True)
class SupervisedAdversarialConfig:
    """Cross-entropy on adversarial examples of cross-entropy."""

    norm: Norm = "linf"
    """The norm in which the attacker may move."""

    epsilon: float = 8 / 255
    """How far the attacker may move, in pixels of [0, 1]."""

    steps: int = 4
    """Gradient steps of the attack."""

    step_size: float = 3 / 255
    """Length of each step, in pixels of [0, 1]."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How the one view of each image is drawn."""

    def __post_init__(self) -> None:
        ThreatModel(self.norm, self.epsilon)  # refuses what is no ball, before anything has been trained

    @property
    def threat(self) -> ThreatModel:
        """The ball in which the attacker may move."""
        return ThreatModel(self.norm, self.epsilon)


class SupervisedAdversarial(Objective):
    """Minimise the cross-entropy that the attacker has maximised."""

    names = ("cross_entropy",)

    def __init__(self, config: SupervisedAdversarialConfig, encoder: ImageEncoder, classes: int) -> None:
        super().__init__()
        self.config = config
        self.classifier = nn.Linear(encoder.dim, classes)

    def terms(self, encoder: ImageEncoder, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Attack one view of each image, then classify it."""
        config = self.config

        def cross_entropy(pixels: Tensor) -> Tensor:
            return F.cross_entropy(self.classifier(encoder(pixels)).float(), batch.labels, reduction="none")

        pixels = view(shared_flip(batch.pixels(), config.augment, generator), config.augment, generator)
        with frozen(encoder, self.classifier):
            attacked = pgd(
                cross_entropy,
                pixels,
                config.threat,
                steps=config.steps,
                step_size=config.step_size,
                generator=generator,
            )
        return {"cross_entropy": cross_entropy(attacked).mean()}
