"""SSAT: self-supervised adversarial training (Chen et al. 2020, arXiv 1911.06470).

AMDIM's loss, where the second view of an image is an adversarial example: the encoder learns to embed an image and
its attacked version alike. Two arms differ in who attacks:

- `label_free` pushes the embedding of another augmented view away from where it was, and keeps every pair. No label
  is read, as "self-supervised" promises.
- `guided` is the released method: PGD-kNN walks the image among labelled exemplars of another class, and only the
  pairs that fool the vote are kept; no augmentation, no regulariser on the scores.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.attacks.losses.guides import GuideBank, guided_adversary
from holdfast.attacks.losses.latent import latent_adversary
from holdfast.attacks.pgd import frozen
from holdfast.trainer.augment import AugmentConfig, shared_flip, view
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.attack import AttackConfig
from holdfast.trainer.objectives.base import ImageBatch, Objective, TrainingSet
from holdfast.trainer.objectives.contrastive.amdim import amdim_terms
from holdfast.trainer.objectives.contrastive.heads import Heads


@dataclass(frozen=True)
class SsatConfig(AttackConfig):
    """Self-supervised adversarial training. The authors attack by 10 steps."""

    arm: Literal["label_free", "guided"] = "label_free"
    """Who attacks: `label_free` reads no label; `guided` is the released PGD-kNN among labelled exemplars."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How views are drawn (label_free)."""

    refresh: int = 50
    """Steps between two embeddings of the whole training set, the bank of exemplars (guided).

    Where checkpoint_every is a multiple of it, a resumed run is the uninterrupted run."""

    guides: int = 300
    """How many exemplars of another class an image is drawn to (guided)."""

    k: int = 75
    """Neighbours of the vote that must be fooled (guided)."""

    def build(self, encoder: ImageEncoder, classes: int) -> "LabelFreeSsat | GuidedSsat":  # noqa: ARG002 - needs no classifier
        """A fresh objective for `encoder`."""
        return GuidedSsat(self, encoder) if self.arm == "guided" else LabelFreeSsat(self, encoder)


class LabelFreeSsat(Objective):
    """NCE between one augmented view and the adversarial version of another."""

    names = ("1to5", "1to7", "5to5", "scores")

    def __init__(self, config: SsatConfig, encoder: ImageEncoder) -> None:
        super().__init__()
        self.config = config
        self.heads = Heads(encoder)

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw two views, attack the second, relate the two."""
        config = self.config
        images = shared_flip(batch.pixels(), config.augment, generator)
        clean, other = view(images, config.augment, generator), view(images, config.augment, generator)
        attacked = latent_adversary(
            encoder, other, config.threat, steps=config.steps, step_size=config.step_size, generator=generator
        )
        return amdim_terms(encoder, self.heads, clean, attacked, generator)


class GuidedSsat(Objective):
    """NCE between an image and its PGD-kNN adversarial example, where that one fools the vote."""

    names = ("1to5", "1to7", "5to5")
    labels = "all"

    def __init__(self, config: SsatConfig, encoder: ImageEncoder) -> None:
        super().__init__()
        self.config = config
        self.heads = Heads(encoder)
        self.bank: GuideBank | None = None

    def prepare(self, encoder: ImageEncoder, train_set: TrainingSet, step: int) -> None:
        """Embed the training set anew, as the encoder has moved on."""
        if self.bank is None or (step - 1) % self.config.refresh == 0:
            with frozen(encoder), torch.no_grad():
                chunks = [_embed(encoder, chunk.pixels()) for chunk in train_set.chunks(512)]
            self.bank = GuideBank(torch.cat(chunks), train_set.labels)

    def terms(self, encoder: ImageEncoder, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Attack the images, keep what fools the vote, relate each to its clean self; nothing where fewer than two do."""
        if self.bank is None:
            raise RuntimeError("the bank of exemplars is built by prepare(), which has not been called")
        clean, config = batch.pixels(), self.config
        with frozen(encoder):
            attacked = guided_adversary(
                lambda pixels: _embed(encoder, pixels),
                clean,
                batch.labels,
                self.bank,
                config.threat,
                steps=config.steps,
                step_size=config.step_size,
                number=config.guides,
                generator=generator,
            )
            with torch.no_grad():
                fooled = knn_vote(_embed(encoder, attacked), self.bank, config.k) != batch.labels
        if int(fooled.sum()) < 2:
            return {}
        terms = amdim_terms(encoder, self.heads, clean[fooled], attacked[fooled], generator)
        del terms["scores"]
        return terms


def knn_vote(z: Tensor, bank: GuideBank, k: int) -> Tensor:
    """The label most frequent among the k nearest of the bank, the smaller one in a tie. [N, D] -> int64 [N]."""
    rows = (z @ bank.embeddings.T).topk(min(k, len(bank.labels)), dim=1).indices
    return F.one_hot(bank.labels[rows]).sum(1).argmax(1)


def _embed(encoder: ImageEncoder, pixels: Tensor) -> Tensor:
    return F.normalize(encoder(pixels).float(), dim=1)
