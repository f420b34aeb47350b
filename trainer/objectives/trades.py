"""TRADES on a cosine classifier: labels, an attack, and a price between accuracy and robustness.

One prototype w_c of unit length for each class, and p_c(x) = softmax_c <f(x), w_c> / s with f(x) of unit length: what the
classifier distinguishes lies in the angles, which are what the kNN compares.

    x'  <- argmax over the ball of  KL(p(x) || p(x'))
    loss = -log p_y(x) + w KL(p(x) || p(x'))

An image without a label has the second term alone.

TRADES is Zhang et al. 2019, arXiv 1901.08573; the cosine classifier stands in the place of their linear one.

With `self_adaptive` the clean term alone is self-adaptive training's (arXiv 2002.10319): targets follow what the classifier
gives for the clean view, never for the attacked one. The attack and the robust term are as before.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from holdfast.attacks.pgd import frozen
from holdfast.data.labelled import UNKNOWN
from holdfast.trainer.augment import WEAK, AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.adaptive.targets import AdaptiveTargets, SelfAdaptation
from holdfast.trainer.objectives.attack import AttackConfig
from holdfast.trainer.objectives.base import ImageBatch, Objective, TrainingSet
from holdfast.trainer.objectives.head import LearnedHead


@dataclass(frozen=True)
class TradesConfig(AttackConfig):
    """Classify, and answer alike when attacked. Reads the labels that there are."""

    robust_weight: float = 6.0
    """Weight w of answering alike: more of it, more robust and less accurate."""

    temperature: float = 0.1
    """Temperature s of the similarities to the prototypes."""

    augment: AugmentConfig = field(default_factory=lambda: WEAK)
    """How the one view of each image is drawn. Flips and shifts alone: colours tell classes apart."""

    prototypes: Literal["random", "means"] = "random"
    """Where the classifier begins: anywhere, or at the mean embedding of each class, for an encoder that exists."""

    self_adaptive: tyro.conf.AvoidSubcommands[SelfAdaptation | None] = None
    """Let the targets of the clean term follow the model, for labels of which some are wrong; None trains on the labels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0 or not self.robust_weight >= 0:
            raise ValueError(
                f"TRADES needs a temperature above 0 and a robust weight of at least 0, not {self.temperature} and"
                f" {self.robust_weight}"
            )

    def build(self, encoder: ImageEncoder, classes: int) -> "Trades":
        """A fresh objective for `encoder`."""
        return Trades(self, encoder, classes)


class Trades(Objective):
    """Be right on clean images, and alike on attacked ones."""

    names = ("clean", "robust")
    labels = "some"

    def __init__(self, config: TradesConfig, encoder: ImageEncoder, classes: int) -> None:
        super().__init__()
        self.config = config
        self.prototypes = nn.Parameter(F.normalize(torch.randn(classes, encoder.dim), dim=1))
        self.adaptive = AdaptiveTargets(config.self_adaptive, classes) if config.self_adaptive else None

    def watched(self) -> dict[str, Tensor]:
        """How many targets have left their labels, where they may."""
        return {"changed": self.adaptive.changed} if self.adaptive else {}

    def prepare(self, encoder: ImageEncoder, train_set: TrainingSet, step: int) -> None:
        """Take the labels as targets where these are to adapt, and see whether they do by now; place prototypes at first."""
        if self.config.prototypes == "means" and step == 1:
            self._place_prototypes(encoder, train_set)
        if self.adaptive:
            self.adaptive.prepare(train_set, step, self.stage_steps)

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a view of each image, attack it, classify both."""
        config = self.config
        clean = view(shared_flip(batch.pixels(), config.augment, generator), config.augment, generator)
        with frozen(encoder), torch.no_grad():
            answered = self._log_probabilities(encoder(clean)).exp()
        attacked = config.adversary(
            lambda pixels: -(answered * self._log_probabilities(encoder(pixels))).sum(1), clean, generator, encoder, self
        )
        # Clean and attacked images as one batch, so BatchNorm cannot tell them apart.
        own, moved = self._log_probabilities(encoder(torch.cat([clean, attacked]))).chunk(2)
        divergence = F.kl_div(moved, own, reduction="batchmean", log_target=True)
        return {"clean": self._clean_loss(batch, own), "robust": config.robust_weight * divergence}

    def _clean_loss(self, batch: ImageBatch, log_probabilities: Tensor) -> Tensor:
        if self.adaptive is None or not self.adaptive.adapting:
            return nll_of_known(log_probabilities, batch.labels)
        return self.adaptive.cross_entropy(self.adaptive.adapt(batch, log_probabilities.exp()), log_probabilities)

    @torch.no_grad()
    def _place_prototypes(self, encoder: ImageEncoder, train_set: TrainingSet) -> None:
        """Each prototype to the mean embedding of its class, where there are images of it."""
        sums = torch.zeros_like(self.prototypes)
        with frozen(encoder):
            for chunk in train_set.chunks():
                known = chunk.labels != UNKNOWN
                embeddings = F.normalize(encoder(chunk.pixels()).float(), dim=1)
                sums.index_add_(0, chunk.labels[known], embeddings[known])
        seen = sums.norm(dim=1, keepdim=True) > 0
        self.prototypes.copy_(torch.where(seen, F.normalize(sums, dim=1), self.prototypes))

    def beliefs(self, encoder: ImageEncoder, train_set: TrainingSet) -> Tensor | None:
        """The targets where they adapt, refreshed."""
        if self.adaptive is None:
            return None
        with frozen(encoder, self):
            return self.adaptive.refreshed(lambda pixels: self._log_probabilities(encoder(pixels)).exp(), train_set)

    def classifier_head(self) -> LearnedHead:
        """The cosine classifier."""
        return LearnedHead.of_prototypes(self.prototypes, self.config.temperature)

    def _log_probabilities(self, embeddings: Tensor) -> Tensor:
        # In float32 also within mixed precision: over a small temperature, bfloat16's third digit would decide.
        with torch.autocast(embeddings.device.type, enabled=False):
            similarities = F.normalize(embeddings.float(), dim=1) @ F.normalize(self.prototypes, dim=1).T
            return F.log_softmax(similarities / self.config.temperature, dim=1)


def nll_of_known(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood over the images whose label is known: [N, C], int64 [N] -> a scalar, 0 where none is."""
    mean = F.nll_loss(log_probabilities, labels, ignore_index=UNKNOWN)
    return torch.where((labels != UNKNOWN).any(), mean, torch.zeros_like(mean))
